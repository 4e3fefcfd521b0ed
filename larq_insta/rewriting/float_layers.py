"""Computes the float convolutions and dense layers of a converted file in int8.

A QUANTIZE in front of a layer and a DEQUANTIZE behind it make 8 bit of its map and back; between
them stands the layer with weights of 8 bit, which every TensorFlow Lite and XNNPACK know. Their
steps are those that keep what calibration pictures give best. All else stays as it is.

Written for real numbers r = scale (q - zero), a convolution of maps q with weights w is
sum r w = scale_map scale_w sum (q - zero) q_w, whole numbers inside. See Jacob et al.,
"Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
https://arxiv.org/abs/1712.05877.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from larq_insta.rewriting.codes import builtin, code_index
from larq_insta.rewriting.ranges import Steps, observe, steps_for
from larq_insta_runtime.engine import schema
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.flatbuffer import pack, unpack
from larq_insta_runtime.preprocessing import Preprocessing

KINDS = ("float32", "int8")

_OPERATOR = schema.BuiltinOperator
_INT8 = schema.TensorType.INT8
_VERSIONS = {  # of operators on int8
    _OPERATOR.CONV_2D: 3,
    _OPERATOR.DEPTHWISE_CONV_2D: 3,
    _OPERATOR.MAX_POOL_2D: 2,
    _OPERATOR.DEQUANTIZE: 2,
    _OPERATOR.QUANTIZE: 1,
    _OPERATOR.RESHAPE: 1,
}
_REQUANTIZE = 2  # of QUANTIZE from one whole number to another
_NEEDS = "1.15.0"
_MOST_INPUT_CHANNELS = 4  # of what is folded into half as many columns


@dataclass(frozen=True)
class Layer:
    """A layer that is computed in int8.

    # Attributes
        operator: Of the file.
        name: What the file calls its output.
        source, target: Numbers of its input and output tensors.
    """

    operator: Any
    name: str
    source: int
    target: int


def check_kind(kind: str) -> None:
    """Whether there is such a way to compute float layers.

    # Raises
        InputError: if not.
    """
    if kind not in KINDS:
        raise InputError(f"Float layers are computed in {', '.join(KINDS)}; got {kind!r}.")


def compute_in_int8(
    content: bytes, images: np.ndarray, pixels: Preprocessing | None = None
) -> bytes:
    """A file whose float convolutions and dense layers are computed in int8.

    # Arguments
        content: A converted model without a card, with all float weights in float32.
        images: Normalized pictures `(images, height, width, channels)` to calibrate with.
        pixels: How pictures were normalized, if the file shall take pixels in uint8: the first
            layer does it then. What lies outside of the picture is of the mean colour's grey.

    # Raises
        InputError: if there are no such layers, or pixels are wanted and read by others, too.
    """
    model = unpack(content)
    graph = model.subgraphs[0]
    layers = _layers(model, graph)
    if not layers:
        raise InputError(
            "A file whose float layers are computed in int8 must have convolutions or dense layers "
            "of float weights; it has none: leave --float-layers out."
        )
    tensors = {tensor for layer in layers for tensor in (layer.source, layer.target)}
    seen = observe(content, sorted(tensors), images)
    rewriter = _Rewriter(model, graph)
    if pixels is not None:
        first = _first_layer(graph, layers)
        rewriter.take_pixels(first, pixels)
    for layer in layers:
        steps = {tensor: steps_for(seen[tensor]) for tensor in (layer.source, layer.target)}
        rewriter.rewrite(layer, steps[layer.source], steps[layer.target])
    _drop_unused(model, graph)
    return pack(model)


def _layers(model: schema.ModelT, graph: schema.SubGraphT) -> list[Layer]:
    """Float layers with weights in the file, in the order of execution."""
    found = []
    for operator in graph.operators:
        kind = builtin(model.operatorCodes[operator.opcodeIndex])
        if kind not in (_OPERATOR.CONV_2D, _OPERATOR.FULLY_CONNECTED, _OPERATOR.DEPTHWISE_CONV_2D):
            continue
        source, weights, target = operator.inputs[0], operator.inputs[1], operator.outputs[0]
        floats = all(
            graph.tensors[tensor].type == schema.TensorType.FLOAT32 for tensor in (source, weights)
        )
        if floats and _values(model, graph, weights) is not None and graph.tensors[source].shape[0] == 1:
            name = (graph.tensors[target].name or b"").decode()
            found.append(Layer(operator, name, int(source), int(target)))
    return found


def _values(model: schema.ModelT, graph: schema.SubGraphT, tensor: int) -> np.ndarray | None:
    """What the file holds of a tensor in float32; `None` if that is computed."""
    data = model.buffers[graph.tensors[tensor].buffer].data
    if data is None or len(data) == 0:
        return None
    return np.asarray(data, np.uint8).view(np.float32).reshape(graph.tensors[tensor].shape)


def _first_layer(graph: schema.SubGraphT, layers: list[Layer]) -> Layer:
    readers = _readers(graph, graph.inputs[0])
    for layer in layers:
        if readers == [layer.operator]:
            return layer
    raise InputError(
        "A file that takes pixels in uint8 must begin with one float convolution or dense layer, "
        "which normalizes them; this one does not: leave out --input uint8."
    )


def _readers(graph: schema.SubGraphT, tensor: int) -> list[Any]:
    return [operator for operator in graph.operators if tensor in list(operator.inputs)]


def _drop_unused(model: schema.ModelT, graph: schema.SubGraphT) -> None:
    """Removes tensors that nobody reads or makes any more, such as weights in float."""
    used = {*map(int, graph.inputs), *map(int, graph.outputs)}
    for operator in graph.operators:
        used |= {int(tensor) for tensor in (*operator.inputs, *operator.outputs) if tensor >= 0}
    numbers = {-1: -1, **{old: new for new, old in enumerate(sorted(used))}}
    graph.tensors = [graph.tensors[old] for old in sorted(used)]
    for ends in (graph, *graph.operators):
        ends.inputs = [numbers[int(tensor)] for tensor in ends.inputs]
        ends.outputs = [numbers[int(tensor)] for tensor in ends.outputs]
    for signature in model.signatureDefs or ():
        for end in (*signature.inputs, *signature.outputs):
            end.tensorIndex = numbers[int(end.tensorIndex)]


class _Rewriter:
    """Changes a graph in place."""

    def __init__(self, model: schema.ModelT, graph: schema.SubGraphT) -> None:
        self._model, self._graph = model, graph
        self._quantized: dict[tuple[int, Steps], int] = {}  # tensors that were already
        self._pixels: Preprocessing | None = None

    def take_pixels(self, layer: Layer, pixels: Preprocessing) -> None:
        """Lets the graph take uint8, and the layer's weights normalize it.

        With (p - mean) / std = (p - zero + zero - mean) / std, a weight w of a channel becomes
        w / std, and the bias grows by the sum of (zero - mean) w / std.
        """
        graph, zero = self._graph, _grey(pixels)
        weights = _values(self._model, graph, layer.operator.inputs[1])
        mean, std = (np.asarray(v, np.float32) for v in (pixels.mean, pixels.std))
        if weights is None or weights.shape[-1] != pixels.channels:
            raise InputError(
                "Pixels in uint8 need a first layer over the colours of the picture; it has "
                f"another: leave out --input uint8."
            )
        folded = (weights / std).astype(np.float32)
        shift = (folded * (zero - mean)).sum((1, 2, 3))
        layer.operator.inputs[1] = self._constant(folded, schema.TensorType.FLOAT32)
        layer.operator.inputs = [*layer.operator.inputs[:2], self._bias(layer, len(folded), shift)]
        tensor = graph.tensors[graph.inputs[0]]
        tensor.type, tensor.quantization = schema.TensorType.UINT8, _parameters(Steps(1.0, zero))
        self._pixels = pixels

    def rewrite(self, layer: Layer, source: Steps, target: Steps) -> None:
        """Computes a layer in int8."""
        graph, operator = self._graph, layer.operator
        kind = builtin(self._model.operatorCodes[operator.opcodeIndex])
        taken = self._taken(layer, source)
        if self._takes_pixels(layer):
            source = Steps(1.0, _grey(self._pixels) - 128)
        weights = _values(self._model, graph, operator.inputs[1])
        if kind == _OPERATOR.FULLY_CONNECTED:
            kind, weights, taken = self._as_convolution(operator, weights, taken, source)
        if kind == _OPERATOR.CONV_2D:
            weights, taken = self._fold_columns(operator, weights, taken, source)
        axis = 3 if kind == _OPERATOR.DEPTHWISE_CONV_2D else 0
        filters, scales = _quantized_weights(weights, axis)
        bias = _values(self._model, graph, self._bias(layer, len(scales)))
        whole = np.clip(np.rint(bias / (source.scale * scales)), -(2**31), 2**31 - 1)
        made = self._like(layer.target, target, b"/int8")
        shape = list(graph.tensors[layer.target].shape)
        if len(shape) != 4:  # noqa: PLR2004
            graph.tensors[made].shape = [1, 1, 1, shape[-1]]
        operator.inputs = [
            taken,
            self._constant(filters, _INT8, _parameters_of(scales, axis)),
            self._constant(
                whole.astype(np.int32), schema.TensorType.INT32,
                _parameters_of((source.scale * scales).astype(np.float32), 0),
            ),
        ]
        operator.outputs = [made]
        operator.opcodeIndex = self._code(kind)
        self._back_to_float(layer, made, target)

    def _takes_pixels(self, layer: Layer) -> bool:
        return self._pixels is not None and layer.source == self._graph.inputs[0]

    def _taken(self, layer: Layer, steps: Steps) -> int:
        """The layer's input in int8."""
        version = _VERSIONS[_OPERATOR.QUANTIZE]
        if self._takes_pixels(layer):
            steps, version = Steps(1.0, _grey(self._pixels) - 128), _REQUANTIZE
        key = layer.source, steps
        if key not in self._quantized:
            self._quantized[key] = self._like(layer.source, steps, b"/int8")
            self._insert_before(
                layer.operator, _OPERATOR.QUANTIZE, [layer.source], self._quantized[key],
                version=version,
            )
        return self._quantized[key]

    def _as_convolution(
        self, operator: Any, weights: np.ndarray, taken: int, steps: Steps
    ) -> tuple[int, np.ndarray, int]:
        """A dense layer as one of one pixel, of which every output may have steps of its own."""
        options = schema.Conv2DOptionsT()
        options.padding, options.strideW, options.strideH = schema.Padding.VALID, 1, 1
        options.dilationWFactor = options.dilationHFactor = 1
        options.fusedActivationFunction = operator.builtinOptions.fusedActivationFunction
        operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
        operator.builtinOptions = options
        shape = [1, 1, 1, weights.shape[1]]
        return _OPERATOR.CONV_2D, weights[:, None, None, :], self._reshaped(operator, taken, shape, steps)

    def _fold_columns(
        self, operator: Any, weights: np.ndarray, taken: int, steps: Steps
    ) -> tuple[np.ndarray, int]:
        """Every two columns of a map of few channels as one of twice as many.

        A convolution that moves by two columns moves by one then, and is computed in steps of more
        channels, which processors are made for.
        """
        shape = [int(side) for side in self._graph.tensors[taken].shape]
        options = operator.builtinOptions
        folded = _paired(weights, shape[2], options.padding)
        if (
            shape[3] > _MOST_INPUT_CHANNELS or shape[2] % 2 or options.strideW != 2  # noqa: PLR2004
            or options.dilationWFactor != 1 or folded is None
        ):
            return weights, taken
        operator.builtinOptions = copy.copy(options)
        operator.builtinOptions.strideW = 1
        pairs = [shape[0], shape[1], shape[2] // 2, 2 * shape[3]]
        return folded, self._reshaped(operator, taken, pairs, steps)

    def _back_to_float(self, layer: Layer, made: int, steps: Steps) -> None:
        """What others read in float; pooled before that where it only is pooled."""
        graph, last, before = self._graph, layer.operator, layer.target
        readers = _readers(graph, before)
        pools = len(readers) == 1 and before not in list(graph.outputs) and (
            builtin(self._model.operatorCodes[readers[0].opcodeIndex]) == _OPERATOR.MAX_POOL_2D
        )
        if pools:
            last, before = readers[0], int(readers[0].outputs[0])
            pooled = self._like(before, steps, b"/int8")
            last.inputs, last.outputs = [made], [pooled]
            last.opcodeIndex = self._code(_OPERATOR.MAX_POOL_2D)
            made = pooled
        if list(graph.tensors[made].shape) != list(graph.tensors[before].shape):
            flat = self._like(before, steps, b"/int8")
            self._insert_behind(last, _OPERATOR.RESHAPE, [made], flat)
            last, made = graph.operators[self._place(last) + 1], flat
        self._insert_behind(last, _OPERATOR.DEQUANTIZE, [made], before)

    def _bias(self, layer: Layer, channels: int, shift: np.ndarray | float = 0.0) -> int:
        inputs = list(layer.operator.inputs)
        there = len(inputs) > 2 and inputs[2] >= 0  # noqa: PLR2004
        bias = _values(self._model, self._graph, inputs[2]) if there else np.zeros(channels)
        return self._constant((bias + shift).astype(np.float32), schema.TensorType.FLOAT32)

    def _reshaped(self, operator: Any, tensor: int, shape: list[int], steps: Steps) -> int:
        result = self._like(tensor, steps, b"/folded")
        self._graph.tensors[result].shape = shape
        self._insert_before(operator, _OPERATOR.RESHAPE, [tensor], result)
        return result

    def _like(self, tensor: int, steps: Steps, suffix: bytes) -> int:
        """A new tensor in int8."""
        made = copy.copy(self._graph.tensors[tensor])
        made.type, made.buffer, made.quantization = _INT8, 0, _parameters(steps)
        made.name = (made.name or b"") + suffix
        self._graph.tensors.append(made)
        return len(self._graph.tensors) - 1

    def _constant(self, values: np.ndarray, kind: int, quantization: Any = None) -> int:
        buffer, tensor = schema.BufferT(), schema.TensorT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        tensor.shape, tensor.type, tensor.quantization = list(values.shape), kind, quantization
        tensor.name, tensor.buffer = b"int8_layer", len(self._model.buffers) - 1
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _code(self, kind: int, version: int | None = None) -> int:
        return code_index(self._model, kind, version or _VERSIONS[kind], _NEEDS)

    def _operator(self, kind: int, inputs: Iterable[int], output: int, version: int | None) -> Any:
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(kind, version)
        operator.inputs, operator.outputs = list(inputs), [output]
        if kind == _OPERATOR.RESHAPE:
            shape = np.array(self._graph.tensors[output].shape, np.int32)
            operator.inputs.append(self._constant(shape, schema.TensorType.INT32))
            operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
            operator.builtinOptions = schema.ReshapeOptionsT()
            operator.builtinOptions.newShape = shape
        return operator

    def _place(self, operator: Any) -> int:
        return next(i for i, other in enumerate(self._graph.operators) if other is operator)

    def _insert_before(
        self, operator: Any, kind: int, inputs: list[int], output: int, version: int | None = None
    ) -> None:
        made = self._operator(kind, inputs, output, version)
        self._graph.operators.insert(self._place(operator), made)

    def _insert_behind(self, operator: Any, kind: int, inputs: list[int], output: int) -> None:
        made = self._operator(kind, inputs, output, None)
        self._graph.operators.insert(self._place(operator) + 1, made)


def _grey(pixels: Preprocessing) -> int:
    """The pixel that stands for what lies outside of a picture: the mean of all colours."""
    return round(float(np.mean(pixels.mean)))


def _quantized_weights(weights: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Filters in int8 and the step of each, 127 of them to its largest absolute weight."""
    others = tuple(i for i in range(weights.ndim) if i != axis)
    largest = np.abs(weights).max(others, keepdims=True)
    steps = np.maximum(largest / 127, np.finfo(np.float32).tiny).astype(np.float32)
    return np.rint(weights / steps).astype(np.int8), steps.reshape(-1)


def _paired(weights: np.ndarray, width: int, padding: int) -> np.ndarray | None:
    """The filters over pairs of columns, or `None` where padding would not fall between pairs.

    # Arguments
        weights: Filters `(out, height, width, channels)` that move by two columns.
        width: Columns of the map, an even number.
        padding: TFLite's.
    """
    filters, height, taps, channels = weights.shape
    in_front = 0
    if padding == schema.Padding.SAME:
        in_front = max((width // 2 - 1) * 2 + taps - width, 0) // 2
    before = in_front % 2  # a column of zeros, so that pairs begin where the map's do
    pairs = -(-(before + taps) // 2)
    columns = np.zeros((filters, height, 2 * pairs, channels), np.float32)
    columns[:, :, before : before + taps] = weights
    if padding == schema.Padding.SAME and (pairs - 1) // 2 != (in_front + before) // 2:
        return None
    if padding != schema.Padding.SAME and (width - taps) // 2 != width // 2 - pairs:
        return None
    return columns.reshape(filters, height, pairs, 2 * channels)


def _parameters(steps: Steps) -> schema.QuantizationParametersT:
    parameters = schema.QuantizationParametersT()
    parameters.scale = np.array([steps.scale], np.float32)
    parameters.zeroPoint = np.array([steps.zero], np.int64)
    return parameters


def _parameters_of(scales: np.ndarray, axis: int) -> schema.QuantizationParametersT:
    parameters = schema.QuantizationParametersT()
    parameters.scale = scales.astype(np.float32)
    parameters.zeroPoint = np.zeros(len(scales), np.int64)
    parameters.quantizedDimension = axis
    return parameters
