"""What a `.tflite` file must be before an interpreter maps it into memory.

TFLite's interpreter trusts the tables of a file: a number of a tensor, of an operator's code
or of bytes that is wrong makes it read and write where it must not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from larq_insta_runtime import flatbuffer
from larq_insta_runtime.engine import IDENTIFIER, schema
from larq_insta_runtime.errors import InputError, first_line
from larq_insta_runtime.graph import Graph, foreign_operators

_MOST_PARTS = 100_000
"""Entries of all tables of a file; a ResNet-152 has some thousands."""

_MOST_BYTES = 4 << 30
"""Of all tensors of a file."""

_CONTROL_FLOW = {"CALL", "CALL_ONCE", "IF", "WHILE"}


def check(content: bytes, name: str) -> Graph:
    """What is in a file that the interpreter can be given; `name` is for messages.

    # Raises
        InputError: if it is no TFLite file, damaged, or needs operators that are not here.
    """
    if content[4:8] != IDENTIFIER:
        raise InputError(
            f"A converted model must be a TFLite file; {name} is none: use `larq-insta convert`."
        )
    try:
        graph = _whole_graph(content)
        foreign = foreign_operators(graph)
    except Exception as error:  # damaged tables fail in any way
        raise InputError(
            f"A converted model must be whole; {name} is damaged ({first_line(error)}): copy or "
            "convert it again."
        ) from error
    if foreign:
        raise InputError(
            f"Every operator must be TFLite's or Larq Compute Engine's; {name} has "
            f"{', '.join(foreign)}: convert it with the installed versions."
        )
    return graph


def _whole_graph(content: bytes) -> Graph:
    problem = _size_problem(content)
    if problem is None:
        graph = Graph(content)
        problem = next(_problems(graph.model), None)
    if problem:
        raise ValueError(problem)
    return graph


def _size_problem(content: bytes) -> str | None:
    """Before it is unpacked: tables that share their parts may be larger than the file."""
    model = schema.Model.GetRootAs(content, 0)
    if model.SubgraphsLength() != 1:
        return f"{model.SubgraphsLength()} graphs instead of one"
    graph = model.Subgraphs(0)
    parts = sum(
        (
            model.OperatorCodesLength(),
            model.BuffersLength(),
            model.MetadataLength(),
            model.SignatureDefsLength(),
            graph.TensorsLength(),
            graph.OperatorsLength(),
            graph.InputsLength(),
            graph.OutputsLength(),
        )
    )
    if parts <= _MOST_PARTS:
        operators = [graph.Operators(i) for i in range(graph.OperatorsLength())]
        parts += sum(op.InputsLength() + op.OutputsLength() for op in operators)
        parts += sum(graph.Tensors(i).ShapeLength() for i in range(graph.TensorsLength()))
    if parts > _MOST_PARTS:
        return f"{parts:,} parts"
    size = sum(model.Buffers(i).DataLength() for i in range(model.BuffersLength()))
    return f"{size:,} bytes of constants" if size > len(content) else None


def _problems(model: schema.ModelT) -> Iterator[str]:
    graph = model.subgraphs[0]
    buffers = [0 if b.data is None else len(b.data) for b in model.buffers]
    # Of other files, or of what lies behind the tables; LiteRT alone knows the former.
    if getattr(model, "externalBuffers", None) or any(b.offset or b.size for b in model.buffers):
        yield "values outside of the tables"
    sizes = []
    for number, tensor in enumerate(graph.tensors):
        problem, size = _tensor_problem(tensor, buffers)
        if problem:
            yield f"tensor {number} {problem}"
            return
        sizes.append(size)
    if sum(sizes) > _MOST_BYTES:
        yield f"{sum(sizes):,} bytes of tensors"
    yield from _operator_problems(model, buffers)


def _tensor_problem(tensor: schema.TensorT, buffers: list[int]) -> tuple[str | None, int]:
    if not 0 <= tensor.buffer < len(buffers):
        return f"has its values in part {tensor.buffer} of {len(buffers)}", 0
    if tensor.sparsity is not None or tensor.isVariable or tensor.variantTensors:
        return "is sparse, variable or of variants", 0
    if tensor.type not in flatbuffer.TYPES:
        return f"is of the type {tensor.type}", 0
    shape = [] if tensor.shape is None else [int(length) for length in tensor.shape]
    if any(length < 1 for length in shape):
        return f"has the shape {shape}", 0
    size = int(np.prod(shape, dtype=object)) * np.dtype(flatbuffer.TYPES[tensor.type]).itemsize
    held = buffers[tensor.buffer]
    return (f"has {held} bytes instead of {size}" if held not in (0, size) else None), size


def _operator_problems(model: schema.ModelT, buffers: list[int]) -> Iterator[str]:
    """Every tensor must be made before it is read, once, and by nobody if it is a constant."""
    graph = model.subgraphs[0]
    names = [flatbuffer.operator_name(code) for code in model.operatorCodes]
    constants = {i for i, tensor in enumerate(graph.tensors) if buffers[tensor.buffer]}
    known = constants | _numbers(graph.inputs)
    if constants & _numbers(graph.inputs) or not known <= set(range(len(graph.tensors))):
        yield "inputs that are none"
    for number, operator in enumerate(graph.operators):
        if not 0 <= operator.opcodeIndex < len(names):
            yield f"operator {number} of the kind {operator.opcodeIndex} of {len(names)}"
            return
        if names[operator.opcodeIndex] in _CONTROL_FLOW:
            yield f"operator {number} is {names[operator.opcodeIndex]}"
        read, made = _numbers(operator.inputs) - {-1}, _numbers(operator.outputs)
        if not read <= known:
            yield f"operator {number} reads what is not made before"
        if made & known or not made <= set(range(len(graph.tensors))):
            yield f"operator {number} makes what it must not"
        known |= made
    if not _numbers(graph.outputs) or not _numbers(graph.outputs) <= known:
        yield "outputs that nothing makes"


def _numbers(vector: np.ndarray | None) -> set[int]:
    return set() if vector is None else {int(number) for number in vector}
