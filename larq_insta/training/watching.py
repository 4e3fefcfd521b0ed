"""What a training of binary networks is doing: signs that flip, thresholds that move."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from larq_insta.layers import InstaThreshold
from larq_insta.layers.quantizers import instance_aware
from larq_insta.rewriting.forms import is_binary
from larq_insta_runtime.errors import InputError, first_line

Arrays: TypeAlias = dict[str, np.ndarray]

_SUFFIX = re.compile(r"\.epoch(\d+)$")


def binary_signs(model: tf.keras.Model) -> Arrays:
    """For each layer with a binary kernel, which of its latent weights count as +1."""
    return {
        layer.name: layer.kernel.numpy() >= 0  # Larq's sign(0) is +1
        for layer in model._flatten_layers(include_self=False)
        if is_binary(getattr(layer, "kernel_quantizer", None))
    }


def flipped_share(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> float:
    """Share (0 to 1) of all binary weights whose sign is another; 0 if there are none."""
    flipped = sum(int(np.sum(before[name] != after[name])) for name in before)
    return flipped / max(1, sum(signs.size for signs in before.values()))


def threshold_spread(model: tf.keras.Model, pictures: np.ndarray) -> Arrays:
    """The thresholds that each instance-aware layer gives to each picture.

    # Arguments
        model: A functional model.
        pictures: Normalised pictures `(instances, height, width, channels)`.

    # Returns
        For each layer, by name, thresholds `(instances, channels)`. An `InstaSign` goes by
        the name of the layer that it quantizes.
    """
    return {name: thresholds for name, thresholds, _ in _thresholds(_probe(model), pictures)}


class TensorBoardLog(tf.keras.callbacks.Callback):
    """Writes for TensorBoard, at the end of each epoch, one whole file of its own.

    Scalars: all logs of Keras; `learning_rate`, at the epoch's end; `weights/flipped_share`,
    of the epoch; for each instance-aware layer `threshold_spread/<layer>`, the standard
    deviation of its thresholds over pictures, mean of all channels (0: they do not move),
    and `threshold_spread_relative/<layer>`, the same in units of the deviation of what is
    compared with them. Histograms: `thresholds/<layer>`. Steps count epochs from 1. Where
    thresholds overflow, spreads are NaN and histograms show the finite ones.

    A training that goes on after epoch `done` must first call `forget_epochs(folder, done)`.

    # Arguments
        folder: Where the files go.
        pictures: A few normalised pictures on which thresholds are looked at.
        student: The functional network itself, where `fit` is that of a model around it.

    # Raises
        InputError: if a file cannot be written.
    """

    def __init__(self, folder: Path, pictures: np.ndarray, student: tf.keras.Model) -> None:
        super().__init__()
        self.folder = folder
        self.pictures = pictures
        self.student = student
        # Not later: a model made by one worker alone, within `fit`, would wait for the others.
        self._probe = _probe(student)

    def on_epoch_begin(self, *_: Any) -> None:
        self._signs = binary_signs(self.student)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        scalars = {**(logs or {}), "learning_rate": learning_rate(self.model.optimizer)}
        histograms = {}
        if self._signs:
            share = flipped_share(self._signs, binary_signs(self.student))
            scalars["weights/flipped_share"] = share
        for name, thresholds, scale in _thresholds(self._probe, self.pictures):
            spread = _spread(thresholds)
            scalars[f"threshold_spread/{name}"] = spread
            scalars[f"threshold_spread_relative/{name}"] = spread / scale if scale else 0.0
            histograms[f"thresholds/{name}"] = thresholds[np.isfinite(thresholds)]
        self._write(epoch, scalars, histograms)

    def _write(self, epoch: int, scalars: dict[str, float], histograms: Arrays) -> None:
        try:
            writer = tf.summary.create_file_writer(
                str(self.folder), filename_suffix=f".epoch{epoch:04d}"
            )
            with writer.as_default(step=epoch + 1):
                for name, value in scalars.items():
                    tf.summary.scalar(name, value)
                for name, values in histograms.items():
                    tf.summary.histogram(name, values)
            writer.close()
        except tf.errors.OpError as error:
            raise InputError(
                f"Logs could not be written to {self.folder} ({first_line(error)}): make room "
                "and run the same command again."
            ) from error


def forget_epochs(folder: Path, first: int) -> None:
    """Deletes what `TensorBoardLog` wrote of epoch `first`, counted from 0, and later ones."""
    for path in folder.glob("events.out.tfevents.*"):
        match = _SUFFIX.search(path.name)
        if match and int(match[1]) >= first:
            path.unlink()


def _probe(model: tf.keras.Model) -> tuple[dict[str, InstaThreshold], tf.keras.Model]:
    """The instance-aware layers by name, and a model that gives their inputs."""
    layers = instance_aware(model)
    inputs = {name: model.get_layer(name).input for name in layers}
    return layers, tf.keras.Model(model.input, inputs)


def _thresholds(
    probe: tuple[dict[str, InstaThreshold], tf.keras.Model], pictures: np.ndarray
) -> Iterator[tuple[str, np.ndarray, float]]:
    """Names, thresholds `(instances, channels)`, and deviations of what they are compared with."""
    layers, inputs = probe
    for name, x in inputs(pictures, training=False).items() if layers else ():
        threshold = layers[name].threshold(x)
        shifted = tf.nest.flatten(layers[name](x))[0]
        compared = tf.cast(shifted, threshold.dtype) + threshold
        deviations = tf.math.reduce_std(compared, axis=list(range(x.shape.rank - 1)))
        yield (
            name,
            threshold.numpy().reshape(len(pictures), -1),
            float(tf.reduce_mean(deviations)),
        )


def _spread(thresholds: np.ndarray) -> float:
    # In float64 the mean of equal numbers is exact, and so is a spread of 0. In inference,
    # thresholds may overflow in a training that is itself still finite.
    with np.errstate(all="ignore"):
        return float(thresholds.std(0, dtype=np.float64).mean())


def learning_rate(optimizer: tf.keras.optimizers.Optimizer) -> float:
    rate = optimizer.learning_rate
    # A mirrored variable is no number itself.
    return float(tf.convert_to_tensor(rate(optimizer.iterations) if callable(rate) else rate))
