"""What is in a `.tflite` file: its operators, its tensors, and the bytes that they move."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from larq_insta_runtime.engine import schema
from larq_insta_runtime.flatbuffer import BUILTIN_NAMES, TYPES, operator_name, unpack

BINARY_CONVOLUTION = "LceBconv2d"
BINARY_INPUT = "LceQuantize"
MATRIX_PRODUCTS = (BINARY_CONVOLUTION, "CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
"""Operators that cost what they multiply; all others cost the bytes that they move."""

_ENGINE_NAMES = (BINARY_CONVOLUTION, BINARY_INPUT, "LceDequantize", "LceBMaxPool2d")


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
        self.model = unpack(content)
        self.subgraph = self.model.subgraphs[0]

    @cached_property
    def tensors(self) -> list[Tensor]:
        return [self._tensor(i, tensor) for i, tensor in enumerate(self.subgraph.tensors)]

    @cached_property
    def operators(self) -> list[Operator]:
        """In the order in which they run."""
        names = [operator_name(code) for code in self.model.operatorCodes]
        return [
            Operator(
                number,
                names[operator.opcodeIndex],
                tuple(self.tensors[i] for i in operator.inputs if i >= 0),
                tuple(self.tensors[i] for i in operator.outputs),
            )
            for number, operator in enumerate(self.subgraph.operators)
        ]

    @property
    def inputs(self) -> list[Tensor]:
        return [self.tensors[i] for i in self.subgraph.inputs]

    @property
    def outputs(self) -> list[Tensor]:
        return [self.tensors[i] for i in self.subgraph.outputs]

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

    def _tensor(self, index: int, tensor: schema.TensorT) -> Tensor:
        data = self.model.buffers[tensor.buffer].data
        return Tensor(
            index,
            "" if tensor.name is None else tensor.name.decode(),
            () if tensor.shape is None else tuple(int(size) for size in tensor.shape),
            np.dtype(TYPES.get(tensor.type, np.void)),
            data is not None and len(data) > 0,
        )


def foreign_operators(graph: Graph) -> list[str]:
    """Operators that are neither TFLite's nor Larq Compute Engine's."""
    return sorted(graph.counts.keys() - {*BUILTIN_NAMES.values(), *_ENGINE_NAMES})
