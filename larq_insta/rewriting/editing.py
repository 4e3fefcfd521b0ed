"""Changes the graph of a file: new tensors, and operators in front of others and behind them."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np

from larq_insta.rewriting.codes import builtin, code_index
from larq_insta.rewriting.ranges import Steps
from larq_insta_runtime.engine import schema
from larq_insta_runtime.flatbuffer import operator_name, unpack

OPERATOR = schema.BuiltinOperator
_VERSIONS = {  # of operators on int8, and of those on float32 alone
    OPERATOR.CONV_2D: 3,
    OPERATOR.DEPTHWISE_CONV_2D: 3,
    OPERATOR.MAX_POOL_2D: 2,
    OPERATOR.DEQUANTIZE: 2,
    OPERATOR.QUANTIZE: 1,
    OPERATOR.RESHAPE: 1,
    OPERATOR.MUL: 1,
    OPERATOR.ADD: 1,
}
_ARITHMETIC = {
    OPERATOR.MUL: (schema.MulOptionsT, "MulOptions"),
    OPERATOR.ADD: (schema.AddOptionsT, "AddOptions"),
}
REQUANTIZE = 2  # of QUANTIZE from one whole number to another
_NEEDS = "1.15.0"


class Editor:
    """The first graph of a file.

    # Attributes
        model: The file's parts.
        graph: Its graph, changed in place.
    """

    def __init__(self, content: bytes) -> None:
        self.model = unpack(content)
        self.graph = self.model.subgraphs[0]

    def kind(self, operator: Any) -> int:
        """Which builtin operator it is."""
        return builtin(self.model.operatorCodes[operator.opcodeIndex])

    def readers(self, tensor: int) -> list[Any]:
        """Operators that read a tensor."""
        return [operator for operator in self.graph.operators if tensor in list(operator.inputs)]

    def leads_to(self, operator: Any, name: str) -> bool:
        """Whether an operator of a name reads what becomes of another's output."""
        reached = {int(tensor) for tensor in operator.outputs}
        for other in self.graph.operators:  # in the order of execution
            if reached & {int(tensor) for tensor in other.inputs}:
                if operator_name(self.model.operatorCodes[other.opcodeIndex]) == name:
                    return True
                reached |= {int(tensor) for tensor in other.outputs}
        return False

    def shape(self, tensor: int) -> list[int]:
        return [int(side) for side in self.graph.tensors[tensor].shape]

    def holds(self, tensor: int) -> bool:
        """Whether the file has a tensor's numbers, and they are not computed."""
        data = self.model.buffers[self.graph.tensors[tensor].buffer].data
        return data is not None and len(data) > 0

    def values(self, tensor: int) -> np.ndarray:
        """What the file holds of a tensor in float32."""
        data = self.model.buffers[self.graph.tensors[tensor].buffer].data
        return np.asarray(data, np.uint8).view(np.float32).reshape(self.shape(tensor))

    def like(self, tensor: int, steps: Steps, suffix: bytes) -> int:
        """A new tensor in int8."""
        number = self.another(tensor, suffix)
        made = self.graph.tensors[number]
        made.type, made.quantization = schema.TensorType.INT8, parameters(steps)
        return number

    def another(self, tensor: int, suffix: bytes) -> int:
        """A new tensor like one."""
        made = copy.copy(self.graph.tensors[tensor])
        made.buffer, made.name = 0, (made.name or b"") + suffix
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def floats(self, values: np.ndarray) -> int:
        return self.constant(values.astype(np.float32), schema.TensorType.FLOAT32)

    def constant(self, values: np.ndarray, kind: int, quantization: Any = None) -> int:
        buffer, tensor = schema.BufferT(), schema.TensorT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        tensor.shape, tensor.type, tensor.quantization = list(values.shape), kind, quantization
        tensor.name, tensor.buffer = b"int8_layer", len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def code(self, kind: int, version: int | None = None) -> int:
        return code_index(self.model, kind, version or _VERSIONS[kind], _NEEDS)

    def _operator(self, kind: int, inputs: Iterable[int], output: int, version: int | None) -> Any:
        operator = schema.OperatorT()
        operator.opcodeIndex = self.code(kind, version)
        operator.inputs, operator.outputs = list(inputs), [output]
        if kind in _ARITHMETIC:
            options, name = _ARITHMETIC[kind]
            operator.builtinOptions = options()
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        if kind == OPERATOR.RESHAPE:
            shape = np.array(self.graph.tensors[output].shape, np.int32)
            operator.inputs.append(self.constant(shape, schema.TensorType.INT32))
            operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
            operator.builtinOptions = schema.ReshapeOptionsT()
            operator.builtinOptions.newShape = shape
        return operator

    def place(self, operator: Any) -> int:
        return next(i for i, other in enumerate(self.graph.operators) if other is operator)

    def insert_before(
        self, operator: Any, kind: int, inputs: list[int], output: int, version: int | None = None
    ) -> None:
        made = self._operator(kind, inputs, output, version)
        self.graph.operators.insert(self.place(operator), made)

    def insert_behind(self, operator: Any, kind: int, inputs: list[int], output: int) -> None:
        made = self._operator(kind, inputs, output, None)
        self.graph.operators.insert(self.place(operator) + 1, made)

    def drop_unused(self) -> None:
        """Removes tensors that nobody reads or makes any more, such as weights in float."""
        graph = self.graph
        used = {*map(int, graph.inputs), *map(int, graph.outputs)}
        for operator in graph.operators:
            used |= {int(tensor) for tensor in (*operator.inputs, *operator.outputs) if tensor >= 0}
        numbers = {-1: -1, **{old: new for new, old in enumerate(sorted(used))}}
        graph.tensors = [graph.tensors[old] for old in sorted(used)]
        for ends in (graph, *graph.operators):
            ends.inputs = [numbers[int(tensor)] for tensor in ends.inputs]
            ends.outputs = [numbers[int(tensor)] for tensor in ends.outputs]
        for signature in self.model.signatureDefs or ():
            for end in (*signature.inputs, *signature.outputs):
                end.tensorIndex = numbers[int(end.tensorIndex)]


def parameters(steps: Steps) -> schema.QuantizationParametersT:
    """What a tensor says of its steps."""
    said = schema.QuantizationParametersT()
    said.scale = np.array([steps.scale], np.float32)
    said.zeroPoint = np.array([steps.zero], np.int64)
    return said


def parameters_of(scales: np.ndarray, axis: int) -> schema.QuantizationParametersT:
    """The same of steps around zero, one for each index of an axis."""
    said = schema.QuantizationParametersT()
    said.scale = scales.astype(np.float32)
    said.zeroPoint = np.zeros(len(scales), np.int64)
    said.quantizedDimension = axis
    return said
