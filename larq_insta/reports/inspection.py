"""What the instance-aware thresholds of a trained model do on real pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import tensorflow as tf

from larq_insta.layers import InstaThreshold
from larq_insta.layers.quantizers import instance_aware
from larq_insta.lite.errors import InputError

_BATCH = 100  # pictures, so that maps stay small


@dataclass(frozen=True)
class LayerInspection:
    """One instance-aware layer on some pictures.

    # Attributes
        name: Of the layer.
        thresholds: `(instances, channels)`.
        deviations: Standard deviation of what is compared with them, `(channels,)`.
        positives: Share of +1 among each instance's signs, `(instances,)`.
        static_positives: The same if each channel had its mean threshold for all instances.
        alpha: Learned weight of the statistic, `(channels,)`; `None` if there is none.
    """

    name: str
    thresholds: np.ndarray
    deviations: np.ndarray
    positives: np.ndarray
    static_positives: np.ndarray
    alpha: np.ndarray | None

    @cached_property
    def static(self) -> np.ndarray:
        """What a static threshold would be, the mean of all instances, `(channels,)`."""
        return self.thresholds.mean(0)

    @cached_property
    def shifts(self) -> np.ndarray:
        """How far each instance moves each threshold, in deviations, `(instances, channels)`."""
        return (self.thresholds - self.static) / np.maximum(self.deviations, 1e-12)

    @property
    def spread(self) -> float:
        """Standard deviation of the shifts, mean of all channels; 0 if thresholds stay."""
        return float(self.shifts.std(0).mean())

    def extremes(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Instances with the lowest and with the highest thresholds, most extreme first."""
        order = np.argsort(self.shifts.mean(1), kind="stable")
        return order[:count], order[::-1][:count]


def inspect(model: tf.keras.Model, images: np.ndarray) -> list[LayerInspection]:
    """Looks at every instance-aware layer of a model, in the order of computation.

    # Arguments
        model: A functional model.
        images: Normalised pictures `(instances, height, width, channels)`.

    # Raises
        InputError: if no layer is instance-aware, the pictures do not fit the model, or a
            threshold or an answer is not finite.
    """
    if not len(images) or not model.input.shape[1:].is_compatible_with(images.shape[1:]):
        raise InputError(
            f"Pictures to inspect must be {model.input.shape} of at least one; got {images.shape}."
        )
    layers = instance_aware(model)
    if not layers:
        raise InputError(
            f"A model to inspect must have instance-aware thresholds; {model.name} has none: give "
            "an INSTA model."
        )
    tensors = [model.get_layer(name).input for name in layers]
    inputs = tf.keras.Model(model.input, [*tensors, model.output])
    thresholds: dict[str, list[np.ndarray]] = {name: [] for name in layers}
    moments = {name: _Moments() for name in layers}
    for name, threshold, compared in _passes(inputs, layers, images):
        thresholds[name].append(threshold)
        moments[name].add(compared)
    everything = {name: np.concatenate(values) for name, values in thresholds.items()}
    shares: dict[str, list[np.ndarray]] = {name: [] for name in layers}
    for name, threshold, compared in _passes(inputs, layers, images):
        static = everything[name].mean(0)
        shares[name].append(
            np.stack([(compared >= each).mean((1, 2)) for each in (threshold[:, None], static)])
        )
    return [
        LayerInspection(
            name,
            thresholds=everything[name],
            deviations=moments[name].deviation(),
            positives=np.concatenate([of_each for of_each, _ in shares[name]]),
            static_positives=np.concatenate([of_mean for _, of_mean in shares[name]]),
            alpha=layer.alpha.numpy() if layer.has_alpha else None,
        )
        for name, layer in layers.items()
    ]


def _passes(
    inputs: tf.keras.Model, layers: dict[str, InstaThreshold], images: np.ndarray
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Names, thresholds `(instances, channels)`, and what is compared with them.

    The latter is of shape `(instances, positions, channels)`.
    """
    for start in range(0, len(images), _BATCH):
        *maps, answers = inputs(images[start : start + _BATCH], training=False)
        if not np.isfinite(answers).all():
            raise InputError(
                "A model's answers must be finite; those to some pictures are not: use a "
                "checkpoint that trained without overflow."
            )
        for (name, layer), x in zip(layers.items(), maps, strict=True):
            threshold = layer.threshold(x).numpy()
            if not np.isfinite(threshold).all():
                raise InputError(
                    f"Thresholds must be finite; some of {name} are not: use a checkpoint that "
                    "trained without overflow."
                )
            shifted = tf.nest.flatten(layer(x))[0].numpy()
            count, channels = x.shape[0], x.shape[-1]
            yield (
                name,
                threshold.reshape(count, channels),
                (shifted + threshold).reshape(count, -1, channels),
            )


class _Moments:
    """Of the channels of maps `(instances, positions, channels)` that come one after another."""

    def __init__(self) -> None:
        self._count, self._sum, self._squares = 0, np.float64(0), np.float64(0)

    def add(self, maps: np.ndarray) -> None:
        maps = maps.astype(np.float64)
        self._count += maps.shape[0] * maps.shape[1]
        self._sum = self._sum + maps.sum((0, 1))
        self._squares = self._squares + (maps**2).sum((0, 1))

    def deviation(self) -> np.ndarray:
        mean = self._sum / self._count
        return np.sqrt(np.maximum(self._squares / self._count - mean**2, 0))
