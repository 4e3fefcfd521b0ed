"""Constants that are added to whole maps, and what around them can take them over.

Everything is decided before anything is changed: a shift that one neighbour refuses stays.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from larq_insta.layers import RPReLU, StaticThreshold
from larq_insta.layers.inference import InferencePReLU, InferenceThreshold

Layer: TypeAlias = tf.keras.layers.Layer
Changes: TypeAlias = list[Callable[[], None]]

_COMMUTING = (
    tf.keras.layers.AveragePooling2D,  # its means leave padding out
    tf.keras.layers.MaxPooling2D,
    tf.keras.layers.GlobalAveragePooling2D,
    tf.keras.layers.GlobalMaxPooling2D,
)
"""Layers that answer a shift of their input with the same shift of their output."""


class Refused(Exception):  # noqa: N818
    """A neighbour cannot take a shift over."""


def raise_output(layer: Layer, shift: np.ndarray) -> Changes:
    """What makes a layer's output larger by a shift, which only one layer reads."""
    if len(consumers(layer)) != 1 or len(layer.inbound_nodes) != 1:
        raise Refused
    if is_channelwise_norm(layer) and layer.center:
        return [partial(layer.beta.assign_add, shift)]
    if _is_sum(layer):
        return _raise_one_of(_sources(layer), shift)
    if isinstance(layer, tf.keras.layers.Concatenate) and _joins_channels(layer):
        ends = np.cumsum(_channels(layer))
        pieces = np.split(shift, ends[:-1])
        pairs = zip(_sources(layer), pieces, strict=True)
        return [change for pair in pairs for change in raise_output(*pair)]
    raise Refused


def _raise_one_of(layers: list[Layer], shift: np.ndarray) -> Changes:
    for layer in layers:
        try:
            return raise_output(layer, shift)
        except Refused:
            continue
    raise Refused


def raise_inputs(layer: Layer, shift: np.ndarray) -> Changes:
    """What makes up for a layer's output being smaller by a shift, in all that reads it."""
    readers = [consumer for consumer, _ in consumers(layer)]
    if not readers or len(set(readers)) < len(readers):
        raise Refused
    return [change for reader in readers for change in _raise_input(reader, layer, shift)]


def _raise_input(layer: Layer, source: Layer, shift: np.ndarray) -> Changes:
    """The same in one of the layers that read `source`."""
    if len(layer.inbound_nodes) != 1:
        raise Refused
    for take in (_into_threshold, _into_parameters, _into_sum, _through):
        changes = take(layer, source, shift)
        if changes is not None:
            return changes
    raise Refused


def _into_threshold(layer: Layer, _source: Layer, shift: np.ndarray) -> Changes | None:
    quantizer = getattr(layer, "input_quantizer", None)
    threshold = getattr(quantizer, "threshold", layer)
    if type(threshold) is StaticThreshold or isinstance(threshold, InferenceThreshold):
        return [partial(shift_threshold, threshold, shift)]
    return None


def _into_parameters(layer: Layer, _source: Layer, shift: np.ndarray) -> Changes | None:
    if is_prelu(layer):
        return [partial(shift_prelu, layer, shift)]
    if is_channelwise_norm(layer):
        return [partial(layer.moving_mean.assign_sub, shift)]
    if type(layer) is tf.keras.layers.Dense and layer.use_bias and len(layer.input_shape) == 2:
        return [lambda: layer.bias.assign_add(shift @ layer.kernel.numpy())]
    return None


def _into_sum(layer: Layer, source: Layer, shift: np.ndarray) -> Changes | None:
    """Into what is added to it."""
    if not _is_sum(layer):
        return None
    try:
        return _raise_one_of([other for other in _sources(layer) if other is not source], shift)
    except Refused:
        return raise_inputs(layer, shift)


def _through(layer: Layer, source: Layer, shift: np.ndarray) -> Changes | None:
    """Into what reads the layer's output."""
    if _is_pointwise(layer):
        return raise_inputs(layer, shift @ layer.kernel.numpy()[0, 0])
    if isinstance(layer, _COMMUTING) or _only_drops_axes(layer):
        return raise_inputs(layer, shift)
    if isinstance(layer, tf.keras.layers.Concatenate) and _joins_channels(layer):
        parts = [np.zeros(channels, np.float32) for channels in _channels(layer)]
        parts[_sources(layer).index(source)] = shift
        return raise_inputs(layer, np.concatenate(parts))
    return None


def shift_threshold(layer: StaticThreshold | InferenceThreshold, shift: np.ndarray) -> None:
    """For an input that has become smaller by a shift."""
    if isinstance(layer, StaticThreshold):
        layer.beta.assign_sub(shift)
        return
    if layer.moments is not None:
        mean, deviation = layer.moments
        layer.moments = mean - shift, deviation
        return
    layer.beta = layer.beta - shift
    layer.shift = shift if layer.shift is None else layer.shift + shift


def shift_prelu(layer: RPReLU | InferencePReLU, shift: np.ndarray) -> None:
    """Likewise."""
    set_parameter(layer, "gamma", get_parameter(layer, "gamma") - shift)
    if isinstance(layer, InferencePReLU):
        layer.shift = shift if layer.shift is None else layer.shift + shift


def consumers(layer: Layer) -> list[tuple[Layer, int]]:
    """Layers that read a layer's outputs, each with the output's number, once a reading."""
    return [
        (node.layer, tensor._keras_history.tensor_index)
        for node in layer._outbound_nodes
        for tensor in node.keras_inputs
        if tensor._keras_history.layer is layer
    ]


def _sources(layer: Layer) -> list[Layer]:
    return [tensor._keras_history.layer for tensor in layer.inbound_nodes[0].keras_inputs]


def _channels(layer: Layer) -> list[int]:
    return [tensor.shape[-1] for tensor in layer.inbound_nodes[0].keras_inputs]


def is_prelu(layer: Layer) -> bool:
    one_use = len(layer.inbound_nodes) == 1
    return one_use and (type(layer) is RPReLU or isinstance(layer, InferencePReLU))


def is_channelwise_norm(layer: Layer) -> bool:
    known = isinstance(layer, tf.keras.layers.BatchNormalization)
    return known and list(layer.axis) == [layer.input_spec.ndim - 1]


def _is_sum(layer: Layer) -> bool:
    """Whether a layer adds maps of as many channels, as `x + y` does; or a constant."""
    operation = getattr(layer, "symbol", None) in ("__operators__.add", "math.add")
    known = operation or isinstance(layer, tf.keras.layers.Add)
    return known and set(_channels(layer)) == {layer.output.shape[-1]}


def _is_pointwise(layer: tf.keras.layers.Conv2D) -> bool:
    return (
        type(layer) is tf.keras.layers.Conv2D
        and layer.kernel_size == (1, 1)
        and layer.groups == 1
        and layer.activation is tf.keras.activations.linear
    )


def _only_drops_axes(layer: Layer) -> bool:
    return isinstance(layer, tf.keras.layers.Flatten) and all(
        size == 1 for size in layer.input_shape[1:-1]
    )


def _joins_channels(layer: tf.keras.layers.Concatenate) -> bool:
    return layer.axis in (-1, len(layer.output_shape) - 1)


def get_parameter(layer: RPReLU | InferencePReLU, name: str) -> np.ndarray:
    if isinstance(layer, InferencePReLU):
        return layer.parameters[name]
    return getattr(layer, name).numpy()


def set_parameter(layer: RPReLU | InferencePReLU, name: str, value: np.ndarray) -> None:
    if isinstance(layer, InferencePReLU):
        layer.parameters[name] = value
    else:
        getattr(layer, name).assign(value)
