"""Keeps the sums of binary convolutions exact where their scale is very large.

Larq Compute Engine's kernels compute `activation(K - 2 count) * scale + bias` as `-2 scale * count
+ (K scale + bias)`, whose last sum is rounded once, when the file is loaded, to 2^-24 of K scale.
That does not show but behind a ReLU: a channel that it holds at 0 for almost all pictures has
almost no variance, so batch normalisation gives it a scale of hundreds, and `bias` drowns, though
it is all that the channel hands on. Then scale and bias become operators of their own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from flatbuffers import flexbuffers

from larq_insta.rewriting.editing import OPERATOR, Editor
from larq_insta_runtime.engine import schema
from larq_insta_runtime.flatbuffer import operator_name, pack
from larq_insta_runtime.graph import BINARY_CONVOLUTION

_LARGEST_ERROR = 5e-5
"""Of what a channel usually gives; half of what `convert` allows."""

_LIVELY = 0.1
"""Of all channels, by which the usual scale is judged: most may be at 0 for almost all pictures."""

_ROUNDING = 2.0**-24
_RELU = 1


def keep_exact(content: bytes) -> bytes:
    """A file of the same function, whose rounding is not seen in any channel."""
    editor = Editor(content)
    drowning = [operator for operator in editor.graph.operators if _drowns(editor, operator)]
    for operator in drowning:
        _separate(editor, operator)
    return pack(editor.model) if drowning else content


def _drowns(editor: Editor, operator: Any) -> bool:
    """Whether a binary convolution's bias does, in some channel."""
    code = editor.model.operatorCodes[operator.opcodeIndex]
    if operator_name(code) != BINARY_CONVOLUTION:
        return False
    options = flexbuffers.Loads(bytes(operator.customOptions))
    made = editor.graph.tensors[operator.outputs[0]]
    if made.type != schema.TensorType.FLOAT32 or options["fused_activation_function"] != _RELU:
        return False
    _, height, width, _ = editor.shape(operator.inputs[1])
    products = height * width * options["channels_in"]
    scales = np.abs(editor.values(operator.inputs[2]))
    usual = np.quantile(scales, _LIVELY) * np.sqrt(products)
    return bool(scales.max() * products * _ROUNDING > _LARGEST_ERROR * usual)


def _separate(editor: Editor, operator: Any) -> None:
    signs, filters, scale, bias, *rest = (int(x) for x in operator.inputs)
    ones = editor.floats(np.ones(editor.shape(scale)))
    zeros = editor.floats(np.zeros(editor.shape(bias)))
    end = int(operator.outputs[0])
    sums, scaled = editor.another(end, b"_sums"), editor.another(end, b"_scaled")
    operator.inputs, operator.outputs = [signs, filters, ones, zeros, *rest], [sums]
    editor.insert_behind(operator, OPERATOR.MUL, [sums, scale], scaled)
    (multiplication,) = editor.readers(sums)
    editor.insert_behind(multiplication, OPERATOR.ADD, [scaled, bias], end)
