"""Runs each block of a converted file alone, on what Keras gives it, and compares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from larq_insta.conversion import builtin, shifts
from larq_insta.conversion.report import Block
from larq_insta.layers.quantizers import InstaSign
from larq_insta.lite.engine import Interpreter
from larq_insta.lite.graph import BINARY_INPUT, Graph, Operator, Tensor
from larq_insta.lite.parts import part


def compare_blocks(
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
    shifted = [shifts.output_shift(lowered.get_layer(cut.layer)) for cut in cuts]
    maps = [images, *(m - s for m, s in zip(values, [*shifted, 0.0], strict=False))]
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
    return Interpreter(part(graph, [begin], ends)).predict_all(images.astype(np.float32))


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
