"""Proves that a converted file computes what its Keras model computes.

The converter turns what it does not recognise into slow float operators and miscompiles some
models, without a word. So binary convolutions are counted, each block is run alone on what
Keras gives it, and both networks are run as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from larq_insta import builtin, folding
from larq_insta.errors import InputError
from larq_insta.flatbuffer import BINARY_CONVOLUTION, BINARY_INPUT, Graph, Operator, Tensor
from larq_insta.lowering import binary_layers
from larq_insta.quantizers import InstaSign
from larq_insta.runtime import interpreter

TOLERANCE = 1e-4
"""Of a block's output, relative to its largest number.

A block sums up to some thousand float32 products, each rounded by 6e-8; the sums of whole
trained networks were seen to differ by 4e-6. A miscompilation changes 1e-2 and more.
"""

MIN_AGREEMENT = {"float32": 0.98, "float16": 0.9, "int8": 0.9}
"""Share of pictures that must get the same best class, by how float weights are stored. Not
1: a sum rounded otherwise in front of a sign flips it now and then, and pictures between two
classes may change sides; weights in fewer bytes flip many signs, with the same accuracy."""

_PICTURES_OF_BLOCKS = 8


@dataclass(frozen=True)
class Block:
    """What was found in a part of the network that takes and gives one map.

    # Attributes
        name: The Keras layer at its end.
        pictures: How many of the pictures left no sign flipped, so that outputs compare.
        deviation: Largest difference of an output, relative to the largest output.
        flips: Signs that differ from Keras's, from the same input.
        distance: The largest distance from zero, on either side, of a number whose sign
            flipped first, relative to the largest number there.
    """

    name: str
    pictures: int
    deviation: float
    flips: int
    distance: float

    @property
    def differs(self) -> bool:
        return not (self.deviation <= TOLERANCE and self.distance <= TOLERANCE)


@dataclass(frozen=True)
class Report:
    """What the check of a converted file found.

    # Attributes
        runtime: What runs the file: `"lce"`, or `"tflite"`, which has no binary operators.
        binary_convolutions: Convolutions in the file of binary inputs and weights.
        expected_convolutions: Binary convolutions in the model.
        float_layers: Binary dense layers, which run in float.
        blocks: What was found block by block.
        signs: How many signs the network computed for the pictures of the blocks.
        flips: How many of them differ when the file computes all by itself.
        pictures: Real pictures that both were asked about.
        agreement: Share of these with the same best class (0 to 1).
        deviation: Median over pictures of the largest difference of an output.
        keras_accuracy, file_accuracy: On these pictures (0 to 1).
        size: Bytes of the file.
        problems: Why the file must not be trusted; empty if it can.
    """

    runtime: str
    binary_convolutions: int
    expected_convolutions: int
    float_layers: tuple[str, ...]
    blocks: tuple[Block, ...]
    signs: int
    flips: int
    pictures: int
    agreement: float
    deviation: float
    keras_accuracy: float
    file_accuracy: float
    size: int
    problems: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return asdict(self)

    def describe(self) -> str:
        found, expected = self.binary_convolutions, self.expected_convolutions
        compared = [block for block in self.blocks if block.pictures]
        deviation = max((block.deviation for block in compared), default=0.0)
        lines = [
            f"{found} of {expected} convolutions are binary"
            + (", computed in float." if self.runtime == "tflite" else "."),
            f"{len(compared)} of {len(self.blocks)} blocks compared, each on Keras's input: they "
            f"differ by at most {deviation:.1g} of their largest number; {self.flips} of "
            f"{self.signs:,} signs flip in the whole network.",
            f"Same answer as Keras on {self.agreement:.1%} of {self.pictures} pictures; accuracy "
            f"{self.file_accuracy:.2%}, Keras {self.keras_accuracy:.2%}.",
        ]
        lines += [
            f"Layer {layer} runs in float: there is no binary dense operator."
            for layer in self.float_layers
        ]
        lines += [f"Not equal: {problem}" for problem in self.problems]
        return "\n".join(lines)


def verify(
    model: tf.keras.Model,
    lowered: tf.keras.Model,
    exact: bytes,
    content: bytes,
    images: np.ndarray,
    labels: np.ndarray,
    min_agreement: float = MIN_AGREEMENT["float32"],
    runtime: str = "lce",
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

    # Raises
        InputError: if there is nothing to compare.
    """
    binary = binary_layers(model)
    dense = [layer.name for layer in binary if isinstance(layer, tf.keras.layers.Dense)]
    if len(binary) == len(dense):
        raise InputError(
            f"A model to convert must have binary convolutions; {model.name} has none: give "
            "Larq layers binary input and kernel quantizers."
        )
    keras, lite = model.predict(images, verbose=0), interpreter(content).predict(images)
    finite = bool(np.isfinite(keras).all() and np.isfinite(lite).all())
    blocks: tuple[Block, ...] = ()
    signs = flips = 0
    if finite:
        few = images[:_PICTURES_OF_BLOCKS]
        blocks, signs, flips = _compare_blocks(model, lowered, Graph(exact), few)
    report = Report(
        runtime=runtime,
        binary_convolutions=builtin.binary_convolutions(exact)
        if runtime == "tflite"
        else Graph(exact).counts[BINARY_CONVOLUTION],
        expected_convolutions=len(binary) - len(dense),
        float_layers=tuple(dense),
        blocks=blocks,
        signs=signs,
        flips=flips,
        pictures=len(images),
        agreement=float(np.mean(keras.argmax(-1) == lite.argmax(-1))),
        deviation=float(np.median(np.abs(keras - lite).max(-1))),
        keras_accuracy=float(np.mean(keras.argmax(-1) == labels)),
        file_accuracy=float(np.mean(lite.argmax(-1) == labels)),
        size=len(content),
        problems=(),
    )
    return replace(report, problems=tuple(_problems(report, finite, min_agreement)))


def _problems(report: Report, finite: bool, min_agreement: float) -> Iterator[str]:
    found, expected = report.binary_convolutions, report.expected_convolutions
    # Where all of them are float, one that is not found is as fast as the others.
    if found != expected and report.runtime == "lce":
        yield (
            f"Every binary convolution must stay binary; {found} of {expected} did, the others "
            "became slow float operators: pad with 1 (pad_values=1.0) and use no depthwise or "
            "grouped binary convolutions."
        )
    if not finite:
        yield (
            "A model's answers must be finite numbers; on the pictures of the check they are "
            "not: look at the training's log for a loss that grew."
        )
        return
    for block in report.blocks:
        if block.differs:
            yield (
                f"Every block must compute what Keras computes; the first that does not ends at "
                f"layer {block.name} (off by {max(block.deviation, block.distance):.2g} of its "
                f"largest number, allowed {TOLERANCE:g})."
            )
            break
    if report.agreement < min_agreement:
        yield (
            f"The converted model must agree with Keras on {min_agreement:.0%} of the pictures; "
            f"it does on {report.agreement:.1%} of {report.pictures}."
        )


def _compare_blocks(
    model: tf.keras.Model, lowered: tf.keras.Model, graph: Graph, images: np.ndarray
) -> tuple[tuple[Block, ...], int, int]:
    """Blocks, signs in the network, and those of them that flip when it runs as a whole."""
    signs = {
        op: tensor
        for op in graph.operators
        if op.name in {BINARY_INPUT, builtin.BINARY_INPUT}
        and (tensor := _sign_input(model, op)) is not None
    }
    cuts = [tensor for tensor in graph.cuts if _is_output_of_layer(model, graph, tensor)]
    outputs = [*(model.get_layer(cut.layer).output for cut in cuts), model.output]
    keras = tf.keras.Model(model.inputs, [*outputs, *signs.values()])
    values = [value.numpy() for value in keras(images, training=False)]
    shifts = [folding.output_shift(lowered.get_layer(cut.layer)) for cut in cuts]
    maps = [images, *(m - s for m, s in zip(values, [*shifts, 0.0], strict=False))]
    expected = dict(zip(signs, values[len(outputs) :], strict=True))
    ends = [graph.inputs[0], *cuts, graph.outputs[0]]
    places = [-1, *(graph.makers[cut.index] for cut in cuts), len(graph.operators)]
    names = [*(cut.layer for cut in cuts), model.output_names[0]]
    blocks = tuple(
        _compare_block(
            graph,
            names[i],
            (ends[i], ends[i + 1]),
            (maps[i], maps[i + 1]),
            {op: y for op, y in expected.items() if places[i] < op.index < places[i + 1]},
        )
        for i in range(len(names))
    )
    _, *whole = _run(graph, ends[0], [ends[-1], *(op.inputs[0] for op in expected)], images)
    flips = sum(_flipped(a, b).sum() for a, b in zip(whole, expected.values(), strict=True))
    return blocks, sum(y.size for y in expected.values()), int(flips)


def _compare_block(
    graph: Graph,
    name: str,
    ends: tuple[Tensor, Tensor],
    maps: tuple[np.ndarray, np.ndarray],
    expected: dict[Operator, np.ndarray],
) -> Block:
    # A sign of the block's input itself has nothing to differ by.
    expected = {op: y for op, y in expected.items() if op.inputs[0] != ends[0]}
    given, wanted = maps
    output, *found = _run(graph, ends[0], [ends[1], *(op.inputs[0] for op in expected)], given)
    unflipped = np.ones(len(given), bool)
    flips, distance = 0, 0.0
    for y, number in zip(expected.values(), found, strict=True):
        flipped = _flipped(number, y)
        flips += int(flipped.sum())
        # What follows a flip may flip for that reason, however far from zero.
        first = flipped & unflipped.reshape(-1, *[1] * (y.ndim - 1))
        sides = [_relative(np.where(first, side, 0), side) for side in (y, number)]
        distance = max(distance, *sides)
        unflipped &= ~flipped.any(axis=tuple(range(1, y.ndim)))
    deviation = _relative((output - wanted)[unflipped], wanted[unflipped])
    return Block(name, int(unflipped.sum()), deviation, flips, distance)


def _run(
    graph: Graph, begin: Tensor, ends: Sequence[Tensor], images: np.ndarray
) -> list[np.ndarray]:
    """Values of the tensors `ends`, from those of the one tensor `begin`."""
    outputs = interpreter(graph.part([begin], ends)).predict(images.astype(np.float32))
    return outputs if len(ends) > 1 else [outputs]


def _flipped(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return (found >= 0) != (expected >= 0)


def _relative(difference: np.ndarray, values: np.ndarray) -> float:
    """Largest difference over the largest number; not finite if one of them is not."""
    if not difference.size:
        return 0.0
    return float(np.abs(difference).max() / max(np.abs(values).max(), np.finfo(np.float32).tiny))


def _sign_input(model: tf.keras.Model, operator: Operator) -> tf.Tensor | None:
    """What the sign reads of which the converter made a binary input, if it can be found."""
    name = operator.outputs[0].layer
    if name not in {layer.name for layer in model.layers}:
        return None
    layer = model.get_layer(name)
    if len(layer.inbound_nodes) != 1 or isinstance(layer.input, list):
        return None
    quantizer = getattr(layer, "input_quantizer", None)
    if getattr(quantizer or layer, "precision", None) != 1:
        return None  # a FLOOR of its own
    tensor = quantizer.threshold(layer.input) if isinstance(quantizer, InstaSign) else layer.input
    return tensor if tensor.shape[1:] == operator.inputs[0].shape[1:] else None


def _is_output_of_layer(model: tf.keras.Model, graph: Graph, tensor: Tensor) -> bool:
    """Whether a tensor is what a layer of its name gives, and not something before."""
    if tensor.layer not in {layer.name for layer in model.layers}:
        return False
    layer = model.get_layer(tensor.layer)
    later = graph.operators[graph.makers[tensor.index] + 1 :]
    return (
        len(layer.inbound_nodes) == 1
        and not isinstance(layer.output, list)
        and tuple(layer.output_shape[1:]) == tensor.shape[1:]
        and not any(made.layer == tensor.layer for op in later for made in op.outputs)
    )
