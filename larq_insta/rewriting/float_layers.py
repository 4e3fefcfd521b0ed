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
from dataclasses import dataclass
from typing import Any

import numpy as np

from larq_insta.rewriting.editing import OPERATOR, REQUANTIZE, Editor, parameters, parameters_of
from larq_insta.rewriting.filters import paired, quantized
from larq_insta.rewriting.ranges import Steps, observe, steps_for
from larq_insta_runtime.engine import schema
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.flatbuffer import pack
from larq_insta_runtime.graph import BINARY_INPUT
from larq_insta_runtime.preprocessing import Preprocessing

KINDS = ("float32", "int8")

_COMPUTED = (OPERATOR.CONV_2D, OPERATOR.FULLY_CONNECTED, OPERATOR.DEPTHWISE_CONV_2D)
_MOST_INPUT_CHANNELS = 4  # of what is folded into half as many columns


@dataclass(frozen=True)
class Layer:
    """A layer that is computed in int8.

    # Attributes
        operator: Of the file.
        source, target: Numbers of its input and output tensors.
    """

    operator: Any
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
    editor = Editor(content)
    layers = _layers(editor)
    if not layers:
        raise InputError(
            "A file whose float layers are computed in int8 must have convolutions or dense layers "
            "of float weights; it has none: leave --float-layers out."
        )
    tensors = {tensor for layer in layers for tensor in (layer.source, layer.target)}
    seen = observe(content, sorted(tensors), images)
    rewriter = _Rewriter(editor)
    if pixels is not None:
        rewriter.take_pixels(_first_layer(editor, layers), pixels)
    for layer in layers:
        steps = {tensor: steps_for(seen[tensor]) for tensor in (layer.source, layer.target)}
        rewriter.rewrite(layer, steps[layer.source], steps[layer.target])
    editor.drop_unused()
    return pack(editor.model)


def _layers(editor: Editor) -> list[Layer]:
    """Float layers with weights in the file, in the order of execution.

    Without dense layers that signs follow: the branches of thresholds, which take no time in float.
    """
    found = []
    for operator in editor.graph.operators:
        if editor.kind(operator) not in _COMPUTED:
            continue
        source, weights, target = operator.inputs[0], operator.inputs[1], operator.outputs[0]
        floats = all(
            editor.graph.tensors[tensor].type == schema.TensorType.FLOAT32
            for tensor in (source, weights)
        )
        is_branch = editor.kind(operator) == OPERATOR.FULLY_CONNECTED and editor.leads_to(
            operator, BINARY_INPUT
        )
        if floats and editor.holds(weights) and editor.shape(source)[0] == 1 and not is_branch:
            found.append(Layer(operator, int(source), int(target)))
    return found


def _first_layer(editor: Editor, layers: list[Layer]) -> Layer:
    readers = editor.readers(editor.graph.inputs[0])
    for layer in layers:
        if readers == [layer.operator]:
            return layer
    raise InputError(
        "A file that takes pixels in uint8 must begin with one float convolution or dense layer, "
        "which normalizes them; this one does not: leave out --input uint8."
    )


class _Rewriter:
    """Changes a graph in place."""

    def __init__(self, editor: Editor) -> None:
        self._editor = editor
        self._quantized: dict[tuple[int, Steps], int] = {}  # tensors that were already
        self._pixels: Preprocessing | None = None

    def take_pixels(self, layer: Layer, pixels: Preprocessing) -> None:
        """Lets the graph take uint8, and the layer's weights normalize it.

        With (p - mean) / std = (p - zero + zero - mean) / std, a weight w of a channel becomes
        w / std, and the bias grows by the sum of (zero - mean) w / std.
        """
        graph, zero = self._editor.graph, _grey(pixels)
        weights = self._editor.values(layer.operator.inputs[1])
        mean, std = (np.asarray(v, np.float32) for v in (pixels.mean, pixels.std))
        if weights.shape[-1] != pixels.channels:
            raise InputError(
                "Pixels in uint8 need a first layer over the colours of the picture; it has "
                "another: leave out --input uint8."
            )
        folded = (weights / std).astype(np.float32)
        shift = (folded * (zero - mean)).sum(tuple(range(1, folded.ndim)))
        bias = (self._bias(layer.operator, len(folded)) + shift).astype(np.float32)
        layer.operator.inputs = [
            layer.operator.inputs[0],
            self._editor.floats(folded),
            self._editor.floats(bias),
        ]
        tensor = graph.tensors[graph.inputs[0]]
        tensor.type, tensor.quantization = schema.TensorType.UINT8, parameters(Steps(1.0, zero))
        self._pixels = pixels

    def rewrite(self, layer: Layer, source: Steps, target: Steps) -> None:
        """Computes a layer in int8."""
        graph, operator = self._editor.graph, layer.operator
        kind = self._editor.kind(operator)
        taken, source = self._taken(layer, source)
        weights = self._editor.values(operator.inputs[1])
        if kind == OPERATOR.FULLY_CONNECTED:
            kind, weights, taken = self._as_convolution(operator, weights, taken, source)
        if kind == OPERATOR.CONV_2D:
            weights, taken = self._fold_columns(operator, weights, taken, source)
        axis = 3 if kind == OPERATOR.DEPTHWISE_CONV_2D else 0
        filters, scales = quantized(weights, axis)
        products = (source.scale * scales).astype(np.float32)
        bias = np.rint(self._bias(operator, len(scales)) / products)
        whole = np.clip(bias, -(2**31), 2**31 - 1).astype(np.int32)
        made = self._editor.like(layer.target, target, b"/int8")
        shape = list(graph.tensors[layer.target].shape)
        if len(shape) != 4:
            graph.tensors[made].shape = [1, 1, 1, shape[-1]]
        operator.inputs = [
            taken,
            self._editor.constant(filters, schema.TensorType.INT8, parameters_of(scales, axis)),
            self._editor.constant(whole, schema.TensorType.INT32, parameters_of(products, 0)),
        ]
        operator.outputs = [made]
        operator.opcodeIndex = self._editor.code(kind)
        self._back_to_float(layer, made, target)

    def _taken(self, layer: Layer, steps: Steps) -> tuple[int, Steps]:
        """The layer's input in int8, and its steps."""
        version = None
        if self._pixels is not None and layer.source == self._editor.graph.inputs[0]:
            steps, version = Steps(1.0, _grey(self._pixels) - 128), REQUANTIZE
        key = layer.source, steps
        if key not in self._quantized:
            made = self._editor.like(layer.source, steps, b"/int8")
            self._editor.insert_before(
                layer.operator, OPERATOR.QUANTIZE, [layer.source], made, version
            )
            self._quantized[key] = made
        return self._quantized[key], steps

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
        return (
            OPERATOR.CONV_2D,
            weights[:, None, None, :],
            self._reshaped(operator, taken, shape, steps),
        )

    def _fold_columns(
        self, operator: Any, weights: np.ndarray, taken: int, steps: Steps
    ) -> tuple[np.ndarray, int]:
        """Every two columns of a map of few channels as one of twice as many.

        A convolution that moves by two columns moves by one then, and is computed in steps of more
        channels, which processors are made for.
        """
        shape, options = self._editor.shape(taken), operator.builtinOptions
        if (
            shape[3] > _MOST_INPUT_CHANNELS
            or shape[2] % 2
            or options.strideW != 2
            or options.dilationWFactor != 1
        ):
            return weights, taken
        folded = paired(weights, shape[2], options.padding)
        if folded is None:
            return weights, taken
        operator.builtinOptions = copy.copy(options)
        operator.builtinOptions.strideW = 1
        pairs = [shape[0], shape[1], shape[2] // 2, 2 * shape[3]]
        return folded, self._reshaped(operator, taken, pairs, steps)

    def _back_to_float(self, layer: Layer, made: int, steps: Steps) -> None:
        """What others read in float; pooled before that where it only is pooled."""
        graph = self._editor.graph
        last, before = layer.operator, layer.target
        readers = self._editor.readers(before)
        is_read_once = len(readers) == 1 and before not in list(graph.outputs)
        if is_read_once and self._editor.kind(readers[0]) == OPERATOR.MAX_POOL_2D:
            last, before = readers[0], int(readers[0].outputs[0])
            pooled = self._editor.like(before, steps, b"/int8")
            last.inputs, last.outputs = [made], [pooled]
            last.opcodeIndex = self._editor.code(OPERATOR.MAX_POOL_2D)
            made = pooled
        if list(graph.tensors[made].shape) != list(graph.tensors[before].shape):
            flat = self._editor.like(before, steps, b"/int8")
            self._editor.insert_behind(last, OPERATOR.RESHAPE, [made], flat)
            last, made = graph.operators[self._editor.place(last) + 1], flat
        self._editor.insert_behind(last, OPERATOR.DEQUANTIZE, [made], before)

    def _bias(self, operator: Any, channels: int) -> np.ndarray:
        inputs = list(operator.inputs)
        there = len(inputs) > 2 and inputs[2] >= 0
        return self._editor.values(inputs[2]) if there else np.zeros(channels, np.float32)

    def _reshaped(self, operator: Any, tensor: int, shape: list[int], steps: Steps) -> int:
        result = self._editor.like(tensor, steps, b"/folded")
        self._editor.graph.tensors[result].shape = shape
        self._editor.insert_before(operator, OPERATOR.RESHAPE, [tensor], result)
        return result


def _grey(pixels: Preprocessing) -> int:
    """The pixel that stands for what lies outside of a picture: the mean of all colours."""
    return round(float(np.mean(pixels.mean)))
