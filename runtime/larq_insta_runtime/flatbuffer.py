"""The content of `.tflite` files, unpacked into the parts of their schema and packed again."""

from __future__ import annotations

import copy

import flatbuffers
import numpy as np

from larq_insta_runtime.engine import IDENTIFIER, schema

BUILTIN_NAMES = {
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
_ALIGNMENT = 16  # of constants, as TFLite wants them


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


def operator_name(code: schema.OperatorCodeT) -> str:
    if code.customCode:
        return str(code.customCode.decode())
    return BUILTIN_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]
