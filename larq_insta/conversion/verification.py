"""Proves that a converted file computes what its Keras model computes.

The converter turns what it does not recognise into slow float operators and miscompiles some
models, without a word. So binary convolutions are counted, each block between signs is run on
what Keras gives it, and both networks are run as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import tensorflow as tf

from larq_insta.conversion import builtin
from larq_insta.conversion.answers import check_probabilities
from larq_insta.conversion.blocks import Comparison, compare_blocks
from larq_insta.conversion.engine import Interpreter
from larq_insta.conversion.lowering import binary_layers
from larq_insta.conversion.report import TOLERANCE, Report
from larq_insta.layers import few_bits
from larq_insta_runtime import engine as litert
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.graph import BINARY_CONVOLUTION, Graph

MIN_AGREEMENT = {"float32": 0.98, "float16": 0.9, "int8": 0.9}
"""Share of pictures that must get the same best class, by how float weights are stored. Not
1: a sum rounded otherwise in front of a sign flips it now and then, and pictures between two
classes may change sides; weights in fewer bytes flip many signs, with the same accuracy."""

_PICTURES_OF_BLOCKS = 8
"""And so many more of those on which a file disagrees, if it does too often."""


def verify(
    model: tf.keras.Model,
    lowered: tf.keras.Model,
    exact: bytes,
    content: bytes,
    images: np.ndarray,
    labels: np.ndarray,
    min_agreement: float = MIN_AGREEMENT["float32"],
    runtime: str = "lce",
    taken: np.ndarray | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """Compares a converted model with its original.

    # Arguments
        model: The Keras model.
        lowered: The model that was lowered: `model` itself, or folded.
        exact: What became of it, with all float weights in float32; compared by blocks.
        content: The same as it shall be written; compared as a whole.
        images: Normalized real pictures `(images, height, width, channels)`.
        labels: Their classes `(images,)`.
        min_agreement: Share of the pictures that must get the same best class.
        runtime: What the file is for, `"lce"` or `"tflite"`.
        taken: The images as the file takes them, if not normalized.
        tell: Called with the name of each stage as it begins.

    # Raises
        InputError: if there is nothing to compare, or the answers are no probabilities.
    """
    binary = binary_layers(model)
    dense = [
        layer.name
        for layer in binary
        if isinstance(layer, tf.keras.layers.Dense) and not few_bits.levels(layer)
    ]
    found = _binary_convolutions(exact, runtime)
    expected = max(found, len(binary) - len(dense))  # those of a layer's own code are not seen
    if not expected:
        raise InputError(
            f"A model to convert must have binary convolutions; {model.name} has none: give "
            "Larq layers binary input and kernel quantizers."
        )
    taken = images if taken is None else taken
    tell("checking answers")
    keras, lite = model.predict(images, verbose=0), Interpreter(content).predict(taken)
    device = litert.Interpreter(content).predict(taken)
    finite = bool(np.isfinite([keras, lite, device]).all())
    if finite:
        check_probabilities(model, keras)
    same, device_same = (keras.argmax(-1) == found.argmax(-1) for found in (lite, device))
    agreement = min(same.mean(), device_same.mean())
    compared = Comparison((), 0.0, 0, 0, 0.0)
    if finite:
        tell("checking blocks")
        few = np.arange(len(images)) < _PICTURES_OF_BLOCKS
        if agreement < min_agreement:
            few[np.flatnonzero(~(same & device_same) & ~few)[:_PICTURES_OF_BLOCKS]] = True
        compared = compare_blocks(model, lowered, Graph(exact), images[few])
    report = Report(
        runtime=runtime,
        binary_convolutions=found,
        expected_convolutions=expected,
        float_layers=tuple(dense),
        blocks=compared.blocks,
        device_deviation=compared.device_deviation,
        signs=compared.signs,
        flips=compared.flips,
        pictures=len(images),
        first_flips=compared.first_flips,
        agreement=float(same.mean()),
        device_agreement=float(device_same.mean()),
        deviation=float(np.median(np.abs(keras - lite).max(-1))),
        keras_accuracy=float(np.mean(keras.argmax(-1) == labels)),
        file_accuracy=float(np.mean(lite.argmax(-1) == labels)),
        device_accuracy=float(np.mean(device.argmax(-1) == labels)),
        size=len(content),
        problems=(),
        remarks=(),
    )
    problems = list(_problems(report, finite))
    if agreement >= min_agreement:
        return replace(report, problems=tuple(problems))
    if not problems and min_agreement == MIN_AGREEMENT["float32"] and _is_explained(report):
        return replace(report, remarks=(_explanation(report),))
    # Weights in fewer bytes than the blocks' might differ by anything.
    return replace(report, problems=(*problems, _disagreement(report, min_agreement)))


def _binary_convolutions(content: bytes, runtime: str) -> int:
    if runtime == "tflite":
        return builtin.binary_convolutions(content)
    return Graph(content).counts[BINARY_CONVOLUTION]


def _problems(report: Report, finite: bool) -> Iterator[str]:
    found, expected = report.binary_convolutions, report.expected_convolutions
    # Where all of them are float, one that is not found is as fast as the others.
    if found != expected and report.runtime == "lce":
        yield (
            f"Every binary convolution must stay binary; {found} of {expected} did, the others "
            "became slow float operators: pad with 1 (pad_values=1.0), have the sign right in "
            "front, and use no depthwise or grouped binary convolutions."
        )
    if not finite:
        yield (
            "A model's answers must be finite numbers; on the pictures of the check they are "
            "not: look at the training's log for a loss that grew."
        )
        return
    different = next((block for block in report.blocks if block.differs), None)
    if different is not None:
        yield (
            f"Every block must compute what Keras computes; the first that does not ends at layer "
            f"{different.name} (off by {different.deviation:.2g} of its largest number, allowed "
            f"{TOLERANCE:g})."
        )
    elif not report.device_deviation <= TOLERANCE:
        yield (
            "Every block must compute what Keras computes; by larq-insta-runtime they are off by "
            f"up to {report.device_deviation:.2g} of the largest number, allowed {TOLERANCE:g}."
        )


def _is_explained(report: Report) -> bool:
    """Whether rounding explains what the whole file answers otherwise than Keras.

    Of pictures on which it does, all blocks are equal. So before anything else a sign of a
    number differs that is as close to zero as blocks may differ; this looks whether it does.
    """
    return report.first_flips <= TOLERANCE


def _explanation(report: Report) -> str:
    return (
        f"It agrees with Keras on {_agreement(report)}, but no block differs, of such pictures "
        "either: signs of numbers within rounding of zero flip first (at most "
        f"{report.first_flips:.1g} of the largest number), and all else follows, as in networks "
        "that are not trained. Of a trained one compare the accuracies."
    )


def _disagreement(report: Report, min_agreement: float) -> str:
    return (
        f"The converted model must agree with Keras on {min_agreement:.0%} of the pictures; it "
        f"does on {_agreement(report)}."
    )


def _agreement(report: Report) -> str:
    agreement = min(report.agreement, report.device_agreement)
    return f"{agreement:.1%} of {report.pictures}"
