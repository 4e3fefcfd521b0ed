"""Lowers a Keras model to builtin TFLite operators only, for runtimes without Larq's engine.

It computes the same, larger and slower: a binary convolution becomes a float one, of signs
and of weights that are +s or -s in each output channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TypeAlias

import larq as lq
import tensorflow as tf

from larq_insta.conversion.exporting import exported
from larq_insta.conversion.lowering import check_convertible
from larq_insta.layers import few_bits
from larq_insta.rewriting.filters import has_one_magnitude
from larq_insta.rewriting.float_weights import store_binary
from larq_insta_runtime.engine import schema
from larq_insta_runtime.errors import InputError, first_line
from larq_insta_runtime.flatbuffer import unpack
from larq_insta_runtime.graph import Graph, Operator, Tensor
from larq_insta_runtime.silence import silent

Sign: TypeAlias = Callable[[tf.Tensor], tf.Tensor]

_SIGN = ("ADD", "MUL", "FLOOR")  # from its end
_CHANNEL_AXES = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}
_OF_SIGNS = ("PAD", "PADV2", "MAX_POOL_2D", "RESHAPE", "SPACE_TO_BATCH_ND")
"""What may stand between a sign and a convolution of signs."""


def lower(model: tf.keras.Model) -> bytes:
    """Converts a model as it is, for batches of one; `folding.fold` it before.

    # Raises
        InputError: if the model cannot be converted.
    """
    check_convertible(model)
    try:
        stand_ins = few_bits.stand_ins(model, few_bits.AsFloat)
        with sign_replaced_by(sign), exported(model, stand_ins) as folder, silent():
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            converter.allow_custom_ops = True  # refused below, in fewer words
            content = converter.convert()
    except Exception as error:
        raise InputError(
            f"TensorFlow Lite's converter cannot convert {model.name}: {first_line(error)}"
        ) from error
    foreign = [c.customCode.decode() for c in unpack(content).operatorCodes if c.customCode]
    if foreign:
        raise InputError(
            f"Every operator must be one of TensorFlow Lite's; {', '.join(sorted(foreign))} of "
            f"{model.name} is not: replace it."
        )
    return store_binary(content)


def binary_convolutions(content: bytes) -> int:
    """How many convolutions of a file multiply signs by weights +s and -s (or zero)."""
    graph, model = Graph(content), unpack(content)
    convolutions = [op for op in graph.operators if op.name in _CHANNEL_AXES]
    return sum(
        _is_sign(graph, op.inputs[0]) and _is_binary(model, graph, op) for op in convolutions
    )


def sign(x: tf.Tensor) -> tf.Tensor:
    """Larq's `lq.math.sign`, exactly, in operators that every runtime has and delegates take.

    SIGN came with TFLite 2.11; comparing and selecting takes ten times as long.
    """
    return tf.clip_by_value(tf.floor(x) * 2 + 1, -1, 1)


def begins_sign(graph: Graph, operator: Operator) -> bool:
    """Whether an operator reads what a sign of this file reads."""
    for name, following in pairwise(reversed(_SIGN)):
        readers = [op for op in graph.operators if operator.outputs[0] in op.inputs]
        if operator.name != name or [op.name for op in readers] != [following]:
            return False
        (operator,) = readers
    return True


@contextmanager
def sign_replaced_by(function: Sign) -> Iterator[Sign]:
    """For a time all of Larq's quantizers call a function in place of their sign, given here.

    A copy of the model with other quantizers would do too, if every model could be copied.
    """
    original = lq.math.sign
    lq.math.sign = function
    try:
        yield original
    finally:
        lq.math.sign = original


def _is_sign(graph: Graph, tensor: Tensor) -> bool:
    """Whether a tensor is made by a sign, or of its numbers."""
    kinds: list[str] = []
    while tensor.index in graph.makers and len(kinds) < len(_SIGN):
        maker = graph.operators[graph.makers[tensor.index]]
        if kinds or maker.name not in _OF_SIGNS:
            kinds.append(maker.name)
        tensor = maker.inputs[0]
    return tuple(kinds) == _SIGN


def _is_binary(model: schema.ModelT, graph: Graph, convolution: Operator) -> bool:
    filters = convolution.inputs[1]
    maker = graph.constant_operators.get(filters.index)
    stored = filters if maker is None else maker.inputs[0]
    if not stored.constant:
        return False
    data = model.buffers[model.subgraphs[0].tensors[stored.index].buffer].data
    weights = data.view(stored.dtype).reshape(stored.shape)
    return bool(has_one_magnitude(weights, _CHANNEL_AXES[convolution.name]).all())
