"""Small `.tflite` files of Larq Compute Engine's operators, put together by hand."""

import numpy as np
from flatbuffers import flexbuffers

from larq_insta.lite.engine import schema
from larq_insta.lite.flatbuffer import pack

TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.bool_): schema.TensorType.BOOL,
}


def words(channels):
    return -(-channels // 32)


def packed(signs):
    """Bits of signs `(..., channels)`, of which negative ones are 1."""
    *shape, channels = signs.shape
    padded = np.zeros((*shape, words(channels) * 32), np.uint8)
    padded[..., :channels] = signs < 0
    return np.packbits(padded, axis=-1, bitorder="little").view(np.int32)


class File:
    """A graph that is put together operator by operator."""

    def __init__(self):
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.subgraphs = 3, [self.graph]
        self.model.buffers, self.model.operatorCodes = [schema.BufferT()], []
        self.graph.tensors, self.graph.operators = [], []

    def tensor(self, shape, dtype, values=None, scale=None, zero_point=0):
        """The number of a new tensor."""
        tensor = schema.TensorT()
        tensor.shape, tensor.type = [int(length) for length in shape], TYPES[np.dtype(dtype)]
        tensor.name, tensor.buffer = f"t{len(self.graph.tensors)}".encode(), 0
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.asarray(values, dtype).tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.array([scale], np.float32)
            tensor.quantization.zeroPoint = np.array([zero_point], np.int64)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def add(self, name, inputs, output, options=None):
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode, code.version = name.encode(), 1
        self.model.operatorCodes.append(code)
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, [output]
        if options is not None:
            data = bytes(flexbuffers.Dumps(options))
            operator.customOptions = np.frombuffer(data, np.uint8)
        self.graph.operators.append(operator)

    def content(self, inputs, outputs):
        self.graph.inputs, self.graph.outputs = inputs, outputs
        return pack(self.model)


def same_size(size, stride):
    return -(-size // stride)


def valid_size(size, places, stride, dilation):
    return (size - (places - 1) * dilation - 1) // stride + 1


def convolution(
    rng,
    *,
    shape,
    filters,
    window=(3, 3),
    strides=(1, 1),
    dilations=(1, 1),
    padding="same",
    pad_values=1,
    activation=0,
    groups=1,
    output="float",
    scale=1.0,
    zero_point=0,
    returns_parts=False,
):
    """Float numbers `shape` through a sign and a binary convolution, as `output` says.

    `"float"`, `"int8"`, or `"bits"`, which are made float numbers again.
    """
    batch, height, width, channels = shape
    file = File()
    image = file.tensor(shape, np.float32)
    bits = file.tensor((batch, height, width, words(channels)), np.int32)
    file.add("LceQuantize", [image], bits)
    kernel = rng.choice([-1, 1], (filters, *window, channels // groups))
    weights = file.tensor((filters, *window, words(channels // groups)), np.int32, packed(kernel))
    sizes = [
        same_size(size, s) if padding == "same" else valid_size(size, k, s, d)
        for size, k, s, d in zip((height, width), window, strides, dilations, strict=True)
    ]
    inputs, parts = [bits, weights, -1, -1, -1], {"kernel": kernel}
    if output == "bits":
        depth = kernel[0].size
        thresholds = rng.integers(0, depth + 1, filters)
        inputs[4] = file.tensor((filters,), np.int32, thresholds)
        result = file.tensor((batch, *sizes, words(filters)), np.int32)
    else:
        multiplier, bias = rng.normal(size=(2, filters)).astype(np.float32)
        parts |= {"multiplier": multiplier, "bias": bias}
        inputs[2] = file.tensor((filters,), np.float32, multiplier)
        inputs[3] = file.tensor((filters,), np.float32, bias)
        quantized = {"scale": scale, "zero_point": zero_point} if output == "int8" else {}
        dtype = np.int8 if output == "int8" else np.float32
        result = file.tensor((batch, *sizes, filters), dtype, **quantized)
    options = {
        "channels_in": channels,
        "dilation_height_factor": dilations[0],
        "dilation_width_factor": dilations[1],
        "fused_activation_function": activation,
        "pad_values": pad_values,
        "padding": 0 if padding == "same" else 1,
        "stride_height": strides[0],
        "stride_width": strides[1],
    }
    file.add("LceBconv2d", inputs, result, options)
    if output == "bits":
        numbers = file.tensor((batch, *sizes, filters), np.float32)
        file.add("LceDequantize", [result], numbers)
        result = numbers
    content = file.content([image], [result])
    return (content, parts) if returns_parts else content


def pooling(*, shape, window, strides, padding):
    """Float numbers `shape` through a sign, the largest of a window, and back."""
    batch, height, width, channels = shape
    file = File()
    image = file.tensor(shape, np.float32)
    bits = file.tensor((batch, height, width, words(channels)), np.int32)
    file.add("LceQuantize", [image], bits)
    sizes = [
        same_size(size, s) if padding == "same" else valid_size(size, k, s, 1)
        for size, k, s in zip((height, width), window, strides, strict=True)
    ]
    pooled = file.tensor((batch, *sizes, words(channels)), np.int32)
    options = {
        "filter_height": window[0],
        "filter_width": window[1],
        "padding": 0 if padding == "same" else 1,
        "stride_height": strides[0],
        "stride_width": strides[1],
    }
    file.add("LceBMaxPool2d", [bits], pooled, options)
    numbers = file.tensor((batch, *sizes, channels), np.float32)
    file.add("LceDequantize", [pooled], numbers)
    return file.content([image], [numbers])


def conversion(*, shape, dtype, scale=None, zero_point=0):
    """Numbers to bits and back, in one type."""
    file = File()
    numbers = file.tensor(shape, dtype, scale=scale, zero_point=zero_point)
    bits = file.tensor((*shape[:-1], words(shape[-1])), np.int32)
    file.add("LceQuantize", [numbers], bits)
    again = file.tensor(shape, dtype, scale=scale, zero_point=zero_point)
    file.add("LceDequantize", [bits], again)
    return file.content([numbers], [again])
