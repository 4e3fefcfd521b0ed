"""From a Keras model to a `.tflite` file: folded, lowered, verified, and written or not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from larq_insta.conversion import answers, builtin, folding, lowering
from larq_insta.conversion.report import Report
from larq_insta.conversion.verification import MIN_AGREEMENT, verify
from larq_insta.rewriting import float_layers as computing
from larq_insta.rewriting import float_weights as storage
from larq_insta.rewriting.flattening import calls
from larq_insta.version import installed_versions
from larq_insta_runtime import metadata
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.writing import check_writable, written_whole

RUNTIMES = {"lce": lowering.lower, "tflite": builtin.lower}


def convert(
    model: tf.keras.Model,
    target: Path,
    card: Card,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    fold: bool = True,
    float_weights: str = "float32",
    float_layers: str = "float32",
    calibration: np.ndarray | None = None,
    pixels: bool = False,
    runtime: str = "lce",
    allow_differences: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """Converts and verifies a model, and writes it with a report, `TARGET.json`.

    Both files are written whole or not at all.

    # Arguments
        model: The Keras model.
        target: The `.tflite` file to write.
        card: What the file shall carry for those who run it.
        images: Normalized real pictures for the verification.
        labels: Their classes.
        fold: Whether to rewrite the model for fewer operations, which changes rounding only.
        float_weights: How weights that are not binary are stored, `"float32"`, `"float16"`
            or `"int8"`; computation is in float32 anyway.
        float_layers: How convolutions and dense layers that are not binary are computed,
            `"float32"`, or `"int8"`, which stores their weights so, too.
        calibration: Normalized pictures of the training, by which int8's steps are chosen.
        pixels: Whether the file shall take pixels in uint8, not normalized.
        runtime: What shall run the file: `"lce"`, Larq Compute Engine, or `"tflite"`, any
            TensorFlow Lite, larger and slower.
        allow_differences: Whether to write a file that fails the verification.
        tell: Called with the name of each stage as it begins, as all takes half a minute.

    # Raises
        InputError: if the model cannot be converted faithfully or `target` not be written.
    """
    if target.suffix != ".tflite":
        raise InputError(f"A converted file must be called *.tflite; got {str(target)!r}.")
    if runtime not in RUNTIMES:
        raise InputError(f"A file is for the runtime {' or '.join(RUNTIMES)}; got {runtime!r}.")
    storage.check_kind(float_weights)
    _check_computing(float_layers, calibration, pixels, runtime)
    check_writable(target)
    check_model(model)
    _check_pictures(model, images, labels)
    card.check_network(model.input_shape, model.output_shape, str(model.name))
    if fold:
        tell("folding")
    network = folding.fold(model) if fold else model
    tell("lowering")
    exact = RUNTIMES[runtime](network)
    computed = exact
    if calibration is not None and float_layers == "int8":
        tell("calibrating")
        normalized = card.preprocessing if pixels else None
        computed = computing.compute_in_int8(exact, calibration, normalized)
    content = metadata.with_metadata(storage.store(computed, float_weights), card)
    least = min(MIN_AGREEMENT[float_weights], MIN_AGREEMENT[float_layers])
    taken = card.preprocessing.pixels(images) if pixels else images
    report = verify(model, network, exact, content, images, labels, least, runtime, taken, tell)
    if report.problems and not allow_differences:
        raise InputError(
            f"{report.problems[0]} The file is not written (--allow-differences would)."
        )
    with written_whole(target) as partial:
        partial.write_bytes(content)
        card.append_to(partial)
    with written_whole(target.with_name(f"{target.name}.json")) as partial:
        how = {
            "fold": fold,
            "float_weights": float_weights,
            "float_layers_in": float_layers,
            "pixels": pixels,
            "versions": installed_versions(),
        }
        partial.write_text(json.dumps(how | report.as_dict(), indent=2) + "\n")
    return report


def _check_computing(
    float_layers: str, calibration: np.ndarray | None, pixels: bool, runtime: str
) -> None:
    computing.check_kind(float_layers)
    if float_layers == "float32":
        if pixels:
            raise InputError(
                "A file that takes pixels in uint8 must compute float layers in int8; got "
                "float32: add --float-layers int8."
            )
        return
    if runtime != "lce":
        raise InputError(
            f"Float layers are computed in int8 in files for the runtime lce; got {runtime!r}, "
            "whose binary convolutions are in float: leave one of both out."
        )
    if calibration is None or not len(calibration):
        raise InputError(
            "Int8 must be calibrated with at least 1 picture; got 0: give more with --calibration."
        )


def check_model(model: tf.keras.Model) -> None:
    """Whether a model is one that can be converted, as far as can be seen without pictures.

    # Raises
        InputError: if not.
    """
    lowering.check_convertible(model)
    answers.check_shape(model)
    _check_weights(model)


def _check_weights(model: tf.keras.Model) -> None:
    # An infinite threshold or a kernel's NaN behind a sign need not show in the answers.
    for layer in dict.fromkeys(call.layer for call in calls(model)):
        for weight in layer.weights:
            wrong = weight.numpy()[~np.isfinite(weight.numpy())]
            if wrong.size:
                name = weight.name.removeprefix(f"{layer.name}/")
                raise InputError(
                    f"A model's weights must be finite; {layer.name}/{name} of {model.name} has "
                    f"{wrong[0]}: use a checkpoint that trained without overflow."
                )


def _check_pictures(model: tf.keras.Model, images: np.ndarray, labels: np.ndarray) -> None:
    wanted = tuple(model.input_shape[1:])
    if len(images) == 0 or images.shape[1:] != wanted or labels.shape != images.shape[:1]:
        raise InputError(
            f"The check needs pictures (pictures, {', '.join(map(str, wanted))}) and a class for "
            f"each; got {images.shape} and {labels.shape}: give real pictures of a data set."
        )
