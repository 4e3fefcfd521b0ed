"""Parts of a file: cut apart at some tensors, one operator many times; and numbers for it."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from larq_insta_runtime.engine import schema
from larq_insta_runtime.flatbuffer import pack
from larq_insta_runtime.graph import Graph, Operator, Tensor


def severed(graph: Graph, tensors: Sequence[Tensor], outputs: Sequence[Tensor]) -> bytes:
    """A file that takes `tensors` as further inputs, where it read what it had made itself."""
    subgraph = copy.copy(graph.subgraph)
    subgraph.tensors = list(subgraph.tensors)
    given = {t.index: _append(subgraph.tensors, subgraph.tensors[t.index]) for t in tensors}
    operators = [copy.copy(operator) for operator in subgraph.operators]
    for operator in operators:
        operator.inputs = [given.get(int(i), int(i)) for i in operator.inputs]
    inputs = [*(tensor.index for tensor in graph.inputs), *given.values()]
    return _assemble(
        copy.copy(graph.model), subgraph, operators, inputs, [tensor.index for tensor in outputs]
    )


def repeated(source: Graph, operator: Operator, copies: int) -> bytes:
    """A file that runs an operator so often, each time on an input and to an output of its own.

    XNNPACK would compute the same but once, and what nobody reads not at all. The outputs are one
    number of each result, so that they cost nothing.
    """
    model, graph = copy.copy(source.model), copy.copy(source.subgraph)
    model.buffers, graph.tensors = list(model.buffers), list(graph.tensors)
    model.operatorCodes = [*model.operatorCodes, _slice_code()]
    original = source.subgraph.operators[operator.index]
    computed = [
        source.constant_operators[t.index]
        for t in operator.inputs
        if t.index in source.constant_operators
    ]
    dynamic = {
        tensor.index
        for tensor in operator.inputs
        if not tensor.constant and tensor.index not in source.constant_operators
    }
    operators, ends = [source.subgraph.operators[op.index] for op in computed], []
    inputs: list[int] = []
    for _ in range(copies):
        again = copy.copy(original)
        own = {i: _append(graph.tensors, graph.tensors[i]) for i in sorted(dynamic)}
        inputs += own.values()
        again.inputs = [own.get(int(i), int(i)) for i in original.inputs]
        again.outputs = [_append(graph.tensors, graph.tensors[i]) for i in original.outputs]
        operators.append(again)
        rank = len(operator.outputs[0].shape)
        one = copy.copy(graph.tensors[again.outputs[0]])
        one.shape = [1] * rank
        ends.append(_append(graph.tensors, one))
        begin = _constant(model, graph, np.zeros(rank, np.int32))
        size = _constant(model, graph, np.ones(rank, np.int32))
        operators.append(
            _slice(len(model.operatorCodes) - 1, [again.outputs[0], begin, size], ends[-1])
        )
    return _assemble(model, graph, operators, inputs, ends)


def _assemble(
    model: schema.ModelT,
    graph: schema.SubGraphT,
    operators: list[schema.OperatorT],
    inputs: list[int],
    outputs: list[int],
) -> bytes:
    graph.operators, graph.inputs, graph.outputs = operators, inputs, outputs
    used = {i for op in operators for i in (*op.inputs, *op.outputs)} | {*inputs, *outputs}
    kept = {tensor.buffer for i, tensor in enumerate(graph.tensors) if i in used}
    empty = schema.BufferT()
    model.buffers = [b if i in kept else empty for i, b in enumerate(model.buffers)]
    model.subgraphs, model.signatureDefs, model.metadata = [graph], None, None
    return pack(model)


def _append(tensors: list[schema.TensorT], tensor: schema.TensorT) -> int:
    tensors.append(copy.copy(tensor))
    return len(tensors) - 1


def _constant(model: schema.ModelT, graph: schema.SubGraphT, values: np.ndarray) -> int:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor = schema.TensorT()
    tensor.shape, tensor.type = list(values.shape), schema.TensorType.INT32
    tensor.name, tensor.buffer = b"constant", len(model.buffers) - 1
    return _append(graph.tensors, tensor)


def _slice_code() -> schema.OperatorCodeT:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.SLICE
    code.version = 1
    return code


def _slice(code: int, inputs: list[int], output: int) -> schema.OperatorT:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, [output]
    operator.builtinOptionsType = schema.BuiltinOptions.SliceOptions
    operator.builtinOptions = schema.SliceOptionsT()
    return operator


def random_inputs(content: bytes) -> list[np.ndarray]:
    """The same ones each time."""
    rng = np.random.default_rng(0)
    return [_random(tensor, rng) for tensor in Graph(content).inputs]


def _random(tensor: Tensor, rng: np.random.Generator) -> np.ndarray:
    if tensor.dtype.kind == "f":
        return rng.normal(size=tensor.shape).astype(tensor.dtype)
    if tensor.dtype == np.bool_:
        return rng.integers(0, 2, tensor.shape).astype(np.bool_)
    limits = np.iinfo(tensor.dtype)
    return rng.integers(limits.min, limits.max, tensor.shape, tensor.dtype, endpoint=True)
