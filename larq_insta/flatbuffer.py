"""What is in a `.tflite` file: its operators, the bytes that they move, and parts of it."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import flatbuffers
import numpy as np
from larq_compute_engine.mlir.python import tflite_schema as schema

BINARY_CONVOLUTION = "LceBconv2d"
BINARY_INPUT = "LceQuantize"
MATRIX_PRODUCTS = (BINARY_CONVOLUTION, "CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
"""Operators that cost what they multiply; all others cost the bytes that they move."""

_ENGINE_NAMES = (BINARY_CONVOLUTION, BINARY_INPUT, "LceDequantize", "LceBMaxPool2d")
_BUILTIN_NAMES = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")
}
TYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT64: np.float64,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.BOOL: np.bool_,
}
IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # of constants, as TFLite wants them


@dataclass(frozen=True)
class Tensor:
    """A tensor of a file.

    # Attributes
        index: Its number.
        name: The converter's name, of the operation that made it, cut off at some length.
        shape: Its shape.
        dtype: Its type.
        constant: Whether its values are in the file.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    constant: bool

    @property
    def size(self) -> int:
        """Bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def layer(self) -> str:
        """Name of the Keras layer that made it, if it was one of the model's own layers."""
        return self.name.split(";")[0].partition("/")[2].partition("/")[0]


@dataclass(frozen=True)
class Operator:
    """An operator of a file."""

    index: int
    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def traffic(self) -> int:
        """Bytes read and written, each distinct tensor once."""
        return sum({tensor.index: tensor.size for tensor in (*self.inputs, *self.outputs)}.values())

    @property
    def is_matrix_product(self) -> bool:
        return self.name in MATRIX_PRODUCTS


class Graph:
    """The operators and tensors of a `.tflite` file's content."""

    def __init__(self, content: bytes) -> None:
        self._model = unpack(content)
        self._graph = self._model.subgraphs[0]

    @cached_property
    def tensors(self) -> list[Tensor]:
        return [self._tensor(i, tensor) for i, tensor in enumerate(self._graph.tensors)]

    @cached_property
    def operators(self) -> list[Operator]:
        """In the order in which they run."""
        names = [operator_name(code) for code in self._model.operatorCodes]
        return [
            Operator(
                number,
                names[operator.opcodeIndex],
                tuple(self.tensors[i] for i in operator.inputs if i >= 0),
                tuple(self.tensors[i] for i in operator.outputs),
            )
            for number, operator in enumerate(self._graph.operators)
        ]

    @property
    def inputs(self) -> list[Tensor]:
        return [self.tensors[i] for i in self._graph.inputs]

    @property
    def outputs(self) -> list[Tensor]:
        return [self.tensors[i] for i in self._graph.outputs]

    @cached_property
    def constant_operators(self) -> dict[int, Operator]:
        """Operators that depend on numbers in the file alone, by the tensor that they make."""
        found: dict[int, Operator] = {}
        for operator in self.operators:
            if all(tensor.constant or tensor.index in found for tensor in operator.inputs):
                found |= {tensor.index: operator for tensor in operator.outputs}
        return found

    @cached_property
    def makers(self) -> dict[int, int]:
        """The number of the operator that makes each tensor, by the tensor's."""
        return {tensor.index: op.index for op in self.operators for tensor in op.outputs}

    @property
    def counts(self) -> Counter[str]:
        """How often each operator occurs."""
        return Counter(operator.name for operator in self.operators)

    @property
    def traffic(self) -> int:
        """Bytes that all operators read and write but the `MATRIX_PRODUCTS`.

        On a device whose binary convolutions are fast these cost the most. What depends on
        numbers in the file alone runs once, and does not count.
        """
        once = {operator.index for operator in self.constant_operators.values()}
        moving = [op for op in self.operators if not op.is_matrix_product and op.index not in once]
        return sum(operator.traffic for operator in moving)

    @property
    def cuts(self) -> list[Tensor]:
        """Maps that all that follows depends on, and on no other tensor before."""
        last_use = {t.index: op.index for op in self.operators for t in op.inputs}
        last_use |= {tensor.index: len(self.operators) for tensor in self.outputs}
        live = {tensor.index for tensor in self.inputs}
        found = []
        for operator in self.operators[:-1]:
            live |= {t.index for t in operator.outputs} - self.constant_operators.keys()
            live = {index for index in live if last_use.get(index, -1) > operator.index}
            made = operator.outputs[0]
            if live == {made.index} and len(made.shape) == 4 and made.dtype == np.float32:
                found.append(made)
        return found

    def part(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bytes:
        """A file of the operators that make `outputs` of `inputs` alone."""
        known = {tensor.index for tensor in inputs}
        needed = {tensor.index for tensor in outputs}
        chosen = []
        for operator in reversed(self.operators):
            if any(t.index in needed and t.index not in known for t in operator.outputs):
                chosen.append(operator)
                needed.update(t.index for t in operator.inputs)
        return _assemble(
            copy.copy(self._model),
            copy.copy(self._graph),
            [self._graph.operators[operator.index] for operator in reversed(chosen)],
            [tensor.index for tensor in inputs],
            [tensor.index for tensor in outputs],
        )

    def repeated(self, operator: Operator, copies: int) -> bytes:
        """A file that runs an operator so often, each time on the same input.

        Its output is one number of the first result, so that reading it costs nothing.
        """
        model, graph = copy.copy(self._model), copy.copy(self._graph)
        model.buffers, graph.tensors = list(model.buffers), list(graph.tensors)
        model.operatorCodes = [*model.operatorCodes, _slice_code()]
        source = self._graph.operators[operator.index]
        computed = [
            self.constant_operators[t.index]
            for t in operator.inputs
            if t.index in self.constant_operators
        ]
        operators, ends = [self._graph.operators[op.index] for op in computed], []
        for _ in range(copies):
            again = copy.copy(source)
            again.outputs = [_append(graph.tensors, graph.tensors[i]) for i in source.outputs]
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
        dynamic = {
            tensor.index: None
            for tensor in operator.inputs
            if not tensor.constant and tensor.index not in self.constant_operators
        }
        return _assemble(model, graph, operators, list(dynamic), ends[:1])

    def _tensor(self, index: int, tensor: schema.TensorT) -> Tensor:
        data = self._model.buffers[tensor.buffer].data
        return Tensor(
            index,
            "" if tensor.name is None else tensor.name.decode(),
            () if tensor.shape is None else tuple(int(size) for size in tensor.shape),
            np.dtype(TYPES.get(tensor.type, np.void)),
            data is not None and len(data) > 0,
        )


def foreign_operators(content: bytes) -> list[str]:
    """Operators that are neither TFLite's nor Larq Compute Engine's."""
    return sorted(Graph(content).counts.keys() - {*_BUILTIN_NAMES.values(), *_ENGINE_NAMES})


def unpack(content: bytes) -> schema.ModelT:
    """The parts of a file, to be changed; a card behind it is lost."""
    return schema.ModelT.InitFromPackedBuf(bytearray(content))


def pack(model: schema.ModelT) -> bytes:
    """The content of a file of these parts, without those that say nothing."""
    builder = _Builder(1024)
    builder.Finish(_tidied(model).Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _tidied(model: schema.ModelT) -> schema.ModelT:
    """A copy in which tensors without content share the first buffer, which must be empty."""
    model = copy.copy(model)
    model.subgraphs = [copy.copy(graph) for graph in model.subgraphs]
    for graph in model.subgraphs:
        graph.tensors = [copy.copy(tensor) for tensor in graph.tensors]
    model.metadata = [copy.copy(entry) for entry in model.metadata or ()]
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    for tensor in tensors:
        data = model.buffers[tensor.buffer].data
        tensor.buffer = 0 if data is None or len(data) == 0 else tensor.buffer
        if tensor.quantization is not None and tensor.quantization.scale is None:
            tensor.quantization = None
    users = [*tensors, *model.metadata]
    kept = sorted({0, *(user.buffer for user in users)})
    numbers = {old: new for new, old in enumerate(kept)}
    model.buffers = [model.buffers[old] for old in kept]
    for user in users:
        user.buffer = numbers[user.buffer]
    return model


class _Builder(flatbuffers.Builder):
    # Code generated for Python does not align constants as the schema says.
    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
        return super().StartVector(elemSize, numElems, _ALIGNMENT if elemSize == 1 else alignment)


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


def operator_name(code: schema.OperatorCodeT) -> str:
    if code.customCode:
        return str(code.customCode.decode())
    return _BUILTIN_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]
