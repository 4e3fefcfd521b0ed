"""Stores the float filters of a converted model in fewer bytes; it still computes in float.

A DEQUANTIZE operator in front of a convolution makes its filter float again: TFLite carries
it out once, at the first picture, and XNNPACK when loading.

In files without Larq Compute Engine's operators binary filters are float too; as int8 they
lose nothing.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from larq_insta.rewriting.codes import builtin, code_index
from larq_insta.rewriting.editing import parameters_of
from larq_insta.rewriting.filters import quantized
from larq_insta_runtime.engine import schema
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.flatbuffer import pack, unpack

KINDS = ("float32", "float16", "int8")

_FILTER = 1  # which input of an operator it is
_CHANNEL_AXES = {
    schema.BuiltinOperator.CONV_2D: 0,
    schema.BuiltinOperator.FULLY_CONNECTED: 0,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: 3,
}
_OVERHEAD = 160  # bytes of one more operator and its tensor, as measured
_RUNTIMES = {3: "1.15.0", 5: "2.7.0"}  # the first TFLite with that version of DEQUANTIZE


@dataclass(frozen=True)
class _Use:
    """Of a buffer, by an operator or, if that is `None`, as a result of the graph.

    `axis` is that of output channels where it is the filter of a float operator.
    """

    graph: schema.SubGraphT
    tensor: int
    operator: Any
    axis: int | None


@dataclass(frozen=True)
class _Stored:
    """Weights in fewer bytes, and the version of DEQUANTIZE that reads them."""

    values: np.ndarray
    type: int
    version: int
    quantization: schema.QuantizationParametersT | None = None

    def size(self) -> int:
        steps = self.quantization.scale.size if self.quantization else 0
        # A step has four bytes, and a zero point, though always zero, eight.
        return self.values.nbytes + 12 * steps + _OVERHEAD


def store(content: bytes, kind: str) -> bytes:
    """Stores the filters of float convolutions and dense layers as `kind`.

    Those that are computed, that are too large for float16 or too few to gain by it stay as
    they are; so do biases, and all that is binary.

    # Arguments
        content: A converted model without a card.
        kind: `"float32"`, which changes nothing, `"float16"`, or `"int8"`: for each output
            channel 127 steps to its largest absolute weight, and one step, which is exact, if
            its weights have one magnitude.

    # Raises
        InputError: if there is no such kind.
    """
    check_kind(kind)
    if kind == "float32":
        return content
    return _store(content, _float16 if kind == "float16" else _int8)


def check_kind(kind: str) -> None:
    """Whether `store` knows a kind.

    # Raises
        InputError: if not.
    """
    if kind not in KINDS:
        raise InputError(f"Float weights are stored as {', '.join(KINDS)}; got {kind!r}.")


def store_binary(content: bytes) -> bytes:
    """Stores those float filters as int8 that lose nothing by it, as binary ones do.

    # Arguments
        content: A converted model without a card.
    """
    return _store(content, _exact_int8)


def _store(content: bytes, form: Callable[[np.ndarray, int], _Stored | None]) -> bytes:
    model = unpack(content)
    changed = False
    for buffer, uses in _uses(model).items():
        filters = _filters(model, buffer, uses)
        stored = None if filters is None else _smaller(*filters, form)
        if stored is not None:
            model.buffers[buffer].data = stored.values.reshape(-1).view(np.uint8)
            _dequantize(model, uses, stored)
            changed = True
    # Packing anew may add some kilobytes, more than a very small model saves.
    return min(content, pack(model), key=len) if changed else content


def _uses(model: schema.ModelT) -> dict[int, list[_Use]]:
    """Where each buffer is used, by whatever tensor, in the order of execution."""
    uses = defaultdict(list)
    for graph in model.subgraphs:
        for operator in graph.operators:
            axis = _CHANNEL_AXES.get(builtin(model.operatorCodes[operator.opcodeIndex]))
            for position, tensor in enumerate(operator.inputs):
                if tensor >= 0:  # else an input that is left out
                    use = _Use(graph, tensor, operator, axis if position == _FILTER else None)
                    uses[graph.tensors[tensor].buffer].append(use)
        for tensor in graph.outputs:
            uses[graph.tensors[tensor].buffer].append(_Use(graph, tensor, None, None))
    return uses


def _filters(model: schema.ModelT, buffer: int, uses: list[_Use]) -> tuple[np.ndarray, int] | None:
    """Weights and axis of a buffer that is a float filter, however often, and nothing else."""
    axis, data = uses[0].axis, model.buffers[buffer].data
    if axis is None or data is None or len(data) == 0 or any(use.axis != axis for use in uses):
        return None
    tensors = [use.graph.tensors[use.tensor] for use in uses]
    kinds = {(tensor.type, tuple(tensor.shape)) for tensor in tensors}
    number, shape = kinds.pop()
    if kinds or number != schema.TensorType.FLOAT32 or tensors[0].sparsity is not None:
        return None
    return data.view(np.float32).reshape(shape), axis


def _smaller(
    weights: np.ndarray, axis: int, form: Callable[[np.ndarray, int], _Stored | None]
) -> _Stored | None:
    """The weights in a form, if that holds them and saves something."""
    stored = form(weights, axis) if np.isfinite(weights).all() else None
    return stored if stored is not None and stored.size() < weights.nbytes else None


def _float16(weights: np.ndarray, _axis: int) -> _Stored | None:
    if np.abs(weights).max() > np.finfo(np.float16).max:
        return None
    return _Stored(weights.astype(np.float16), schema.TensorType.FLOAT16, version=3)


def _int8(weights: np.ndarray, axis: int) -> _Stored:
    values, steps = quantized(weights, axis)
    return _Stored(values, schema.TensorType.INT8, 5, parameters_of(steps, axis))


def _exact_int8(weights: np.ndarray, axis: int) -> _Stored | None:
    values, steps = quantized(weights, axis)
    shape = [-1 if i == axis else 1 for i in range(weights.ndim)]
    exact = np.array_equal(values * steps.reshape(shape), weights)
    return _int8(weights, axis) if exact else None


def _dequantize(model: schema.ModelT, uses: list[_Use], stored: _Stored) -> None:
    """Puts a DEQUANTIZE between the stored filter and the operators that use it."""
    code = code_index(
        model, schema.BuiltinOperator.DEQUANTIZE, stored.version, _RUNTIMES[stored.version]
    )
    floats: dict[tuple[int, int], int] = {}
    for use in uses:
        key = id(use.graph), use.tensor
        if key not in floats:
            floats[key] = len(use.graph.tensors)
            _insert(use, stored, code)
        use.operator.inputs[_FILTER] = floats[key]


def _insert(use: _Use, stored: _Stored, code: int) -> None:
    graph, tensor = use.graph, use.graph.tensors[use.tensor]
    result = copy.copy(tensor)
    result.buffer, result.name = 0, (tensor.name or b"filter") + b"/float32"
    tensor.type, tensor.quantization = stored.type, stored.quantization
    operator = schema.OperatorT()
    operator.opcodeIndex = code
    operator.inputs, operator.outputs = [use.tensor], [len(graph.tensors)]
    graph.tensors.append(result)
    graph.operators.insert(graph.operators.index(use.operator), operator)
