"""Rewrites a model for inference: the same function with fewer passes over large maps.

A constant that a layer adds to a whole map moves into batch normalisations, thresholds and
biases around it, where it costs nothing. All rewriting is exact but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeAlias

import larq as lq
import numpy as np
import tensorflow as tf

from larq_insta.errors import InputError, first_line
from larq_insta.inference import InferenceLayer, InferencePReLU, InferenceThreshold
from larq_insta.int8_weights import Int8Weights
from larq_insta.layers import InstaPReLU, InstaThreshold, RPReLU, StaticThreshold
from larq_insta.quantizers import InstaSign

Layer: TypeAlias = tf.keras.layers.Layer
Changes: TypeAlias = list[Callable[[], None]]

_COMMUTING = (
    tf.keras.layers.AveragePooling2D,  # its means leave padding out
    tf.keras.layers.MaxPooling2D,
    tf.keras.layers.GlobalAveragePooling2D,
    tf.keras.layers.GlobalMaxPooling2D,
)
"""Layers that answer a shift of their input with the same shift of their output."""

_PLAIN = {
    lq.layers.QuantConv2D: tf.keras.layers.Conv2D,
    lq.layers.QuantDense: tf.keras.layers.Dense,
}

_SHIFT = "_larq_insta_output_shift"
_OUTPUT = "larq_insta_output_"
_SIGNS = (lq.quantizers.ApproxSign, lq.quantizers.SteSign)


class _Refused(Exception):  # noqa: N818
    """A neighbour cannot take a shift over."""


def fold(model: tf.keras.Model) -> tf.keras.Model:
    """A model that computes the same in inference, in fewer operations.

    # Arguments
        model: A functional or sequential model with fixed input size; it is not changed.

    # Raises
        InputError: if the model cannot be copied layer by layer.
    """
    folded = for_inference(model)
    for rewrite in FOLDS:
        for layer in _parts(folded):
            rewrite(layer)
    return folded


def for_inference(model: tf.keras.Model) -> tf.keras.Model:
    """A copy with instance-aware layers as the folds need them."""
    try:
        copy = tf.keras.models.clone_model(model, clone_function=_copy)
    except Exception as error:
        raise InputError(
            f"A model to fold must consist of layers that can be copied; {model.name} does not "
            f"({first_line(error)}): convert it with --no-fold."
        ) from error
    for layer in model.layers:
        weights = _weights_of_copy(layer, copy.get_layer(layer.name))
        for weight, value in zip(copy.get_layer(layer.name).weights, weights, strict=True):
            weight.assign(value)
    # Outputs are read too: by layers that take no shift over.
    outputs = [
        tf.keras.layers.Activation("linear", name=f"{_OUTPUT}{i}")(output)
        for i, output in enumerate(copy.outputs)
    ]
    return tf.keras.Model(copy.inputs, outputs, name=model.name)


def output_shift(layer: Layer) -> np.ndarray | float:
    """What must be added to the output of a folded model's layer for that of the original."""
    return getattr(layer, _SHIFT, 0.0)


def merge_input_normalization(layer: Layer) -> None:
    r"""Takes batch normalisation in front of INSTA-Th into its parameters and one shift.

    In front of a sign \\((x - m) / s - TH\\) may be multiplied by \\(s > 0\\), and a
    statistic of degree \\(k\\) is \\(S((x - m) / s) = S(x - m) / s^k\\).
    """
    if not isinstance(layer, InferenceThreshold) or layer.moments is None or layer.degree is None:
        return
    if layer.branch is not None and layer.branch_activation is not tf.keras.activations.linear:
        return
    if not all(_is_sign(consumer) for consumer, index in _consumers(layer) if index == 0):
        return
    mean, deviation = layer.moments
    layer.moments = None
    layer.scale = _times(1 / deviation**layer.degree, layer.scale)
    layer.beta = deviation * layer.beta
    if layer.alpha is not None:
        layer.alpha = deviation * layer.alpha
    if layer.branch is not None:
        reduce, bias, expand = layer.branch
        layer.branch = (reduce, bias, expand * deviation)
    _shift_threshold(layer, -mean)


def merge_statistic_normalization(layer: Layer) -> None:
    r"""Takes scale and offset of a statistic into what multiplies it, and into its limits.

    \\(\alpha (a S + b) + \beta = (\alpha a) S + (\beta + \alpha b)\\), with \\(a > 0\\).
    """
    if not isinstance(layer, InferenceLayer) or layer.scale is None:
        return
    users = [layer]
    if isinstance(layer, InferenceThreshold):
        users += [consumer for consumer, index in _consumers(layer) if index == 1]
    if not all(isinstance(user, InferenceLayer) for user in users):
        return
    scale = layer.scale
    offset = np.zeros_like(scale) if layer.offset is None else layer.offset
    layer.scale = layer.offset = None
    if layer.limits is not None:
        least, largest = layer.limits
        layer.limits = (least - offset) / scale, (largest - offset) / scale
    for user in users:
        _substitute(user, scale, offset)


def fold_first_shift(layer: Layer) -> None:
    """Takes RPReLU's first shift into the batch normalisations in front of it."""
    if not _is_prelu(layer):
        return
    if isinstance(layer, InferencePReLU) and layer.own_statistic and "gamma" in layer.alphas:
        return  # one subtraction remains anyway, and the statistic would need a shift
    gamma = _get(layer, "gamma")
    source = layer.inbound_nodes[0].keras_inputs[0]._keras_history.layer
    try:
        changes = _raise_output(source, -gamma)
    except _Refused:
        return
    _apply(changes)
    _shift_prelu(layer, gamma)


def fold_second_shift(layer: Layer) -> None:
    """Takes RPReLU's second shift into all that reads it."""
    if not _is_prelu(layer):
        return
    if isinstance(layer, InferencePReLU) and "zeta" in layer.alphas:
        return
    zeta = _get(layer, "zeta")
    try:
        changes = _raise_inputs(layer, zeta)
    except _Refused:
        return
    _apply(changes)
    _set(layer, "zeta", np.zeros_like(zeta))


FOLDS = (
    merge_input_normalization,
    merge_statistic_normalization,
    fold_first_shift,
    fold_second_shift,
)
"""In this order."""


def _raise_output(layer: Layer, shift: np.ndarray) -> Changes:
    """What makes a layer's output larger by a shift, which only one layer reads."""
    if len(_consumers(layer)) != 1 or len(layer.inbound_nodes) != 1:
        raise _Refused
    note = partial(_note, layer, -shift)
    if _is_channelwise_norm(layer) and layer.center:
        return [note, partial(layer.beta.assign_add, shift)]
    if isinstance(layer, tf.keras.layers.Add):
        return [note, *_raise_one_of(_sources(layer), shift)]
    if isinstance(layer, tf.keras.layers.Concatenate) and _joins_channels(layer):
        ends = np.cumsum([source.output_shape[-1] for source in _sources(layer)])
        pieces = np.split(shift, ends[:-1])
        pairs = zip(_sources(layer), pieces, strict=True)
        return [note, *(change for pair in pairs for change in _raise_output(*pair))]
    raise _Refused


def _raise_one_of(layers: list[Layer], shift: np.ndarray) -> Changes:
    for layer in layers:
        try:
            return _raise_output(layer, shift)
        except _Refused:
            continue
    raise _Refused


def _raise_inputs(layer: Layer, shift: np.ndarray) -> Changes:
    """What makes up for a layer's output being smaller by a shift, in all that reads it."""
    consumers = [consumer for consumer, _ in _consumers(layer)]
    if not consumers or len(set(consumers)) < len(consumers):
        raise _Refused
    changes = [change for consumer in consumers for change in _raise_input(consumer, layer, shift)]
    return [partial(_note, layer, shift), *changes]


def _raise_input(layer: Layer, source: Layer, shift: np.ndarray) -> Changes:
    """The same in one of the layers that read `source`."""
    if len(layer.inbound_nodes) != 1:
        raise _Refused
    for take in (_into_threshold, _into_parameters, _into_sum, _through):
        changes = take(layer, source, shift)
        if changes is not None:
            return changes
    raise _Refused


def _into_threshold(layer: Layer, _source: Layer, shift: np.ndarray) -> Changes | None:
    quantizer = getattr(layer, "input_quantizer", None)
    threshold = getattr(quantizer, "threshold", layer)
    if type(threshold) is StaticThreshold or isinstance(threshold, InferenceThreshold):
        return [partial(_shift_threshold, threshold, shift)]
    return None


def _into_parameters(layer: Layer, _source: Layer, shift: np.ndarray) -> Changes | None:
    if _is_prelu(layer):
        return [partial(_shift_prelu, layer, shift)]
    if _is_channelwise_norm(layer):
        return [partial(layer.moving_mean.assign_sub, shift)]
    if type(layer) is tf.keras.layers.Dense and layer.use_bias and len(layer.input_shape) == 2:
        return [lambda: layer.bias.assign_add(shift @ layer.kernel.numpy())]
    return None


def _into_sum(layer: Layer, source: Layer, shift: np.ndarray) -> Changes | None:
    """Into what is added to it."""
    if not isinstance(layer, tf.keras.layers.Add):
        return None
    try:
        return _raise_one_of([other for other in _sources(layer) if other is not source], shift)
    except _Refused:
        return _raise_inputs(layer, shift)


def _through(layer: Layer, _source: Layer, shift: np.ndarray) -> Changes | None:
    """Into what reads the layer's output."""
    if _is_pointwise(layer):
        return _raise_inputs(layer, shift @ layer.kernel.numpy()[0, 0])
    if isinstance(layer, _COMMUTING) or _only_drops_axes(layer):
        return _raise_inputs(layer, shift)
    return None


def _note(layer: Layer, shift: np.ndarray) -> None:
    setattr(layer, _SHIFT, output_shift(layer) + shift)


def _shift_threshold(layer: StaticThreshold | InferenceThreshold, shift: np.ndarray) -> None:
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


def _shift_prelu(layer: RPReLU | InferencePReLU, shift: np.ndarray) -> None:
    """Likewise."""
    _set(layer, "gamma", _get(layer, "gamma") - shift)
    if isinstance(layer, InferencePReLU):
        layer.shift = shift if layer.shift is None else layer.shift + shift


def _substitute(layer: InferenceLayer, scale: np.ndarray, offset: np.ndarray) -> None:
    """Writes a S + b in place of the statistic S that the layer multiplies."""
    if isinstance(layer, InferencePReLU):
        for name, alpha in layer.alphas.items():
            layer.parameters[name] = layer.parameters[name] + alpha * offset
            layer.alphas[name] = alpha * scale
        return
    if layer.alpha is not None:
        layer.beta = layer.beta + layer.alpha * offset
        layer.alpha = layer.alpha * scale
    if layer.branch is not None:
        reduce, bias, expand = layer.branch
        layer.branch = (scale[:, None] * reduce, bias + offset @ reduce, expand)


def _copy(layer: Layer) -> Layer:
    quantizer = _instance_aware_quantizer(layer)
    if quantizer is not None:
        copy = layer.__class__.from_config(layer.get_config())
        threshold = InferenceThreshold(quantizer.threshold, layer.input_shape)
        copy.input_quantizer = InstaSign(threshold, name=quantizer.name)
        return copy
    if _is_rounded(layer):
        config = layer.get_config()
        del config["kernel_quantizer"], config["input_quantizer"]
        config.pop("pad_values", None)
        return _PLAIN[type(layer)].from_config(config)
    kind = {InstaThreshold: InferenceThreshold, InstaPReLU: InferencePReLU}.get(type(layer))
    if kind is None or len(layer.inbound_nodes) != 1 or layer.input_spec.ndim != 4:
        return layer.__class__.from_config(layer.get_config())
    first = layer.inbound_nodes[0].input_shapes
    return kind(layer, first[0] if isinstance(first, list) else first)


def _instance_aware_quantizer(layer: Layer) -> InstaSign | None:
    quantizer = getattr(layer, "input_quantizer", None)
    known = isinstance(quantizer, InstaSign) and type(quantizer.threshold) is InstaThreshold
    return quantizer if known and len(layer.inbound_nodes) == 1 else None


def _is_rounded(layer: Layer) -> bool:
    """Whether a layer has weights that are rounded, and nothing binary."""
    return (
        type(layer) in _PLAIN
        and isinstance(layer.kernel_quantizer, Int8Weights)
        and layer.input_quantizer is None
    )


def _weights_of_copy(layer: Layer, copy: Layer) -> list[tf.Variable]:
    if isinstance(copy, InferenceLayer):
        return []
    if _is_rounded(layer):
        return [layer.kernel_quantizer(layer.kernel), *([layer.bias] if layer.use_bias else [])]
    quantizer = _instance_aware_quantizer(layer)
    inside = [] if quantizer is None else quantizer.weights
    return [weight for weight in layer.weights if not any(weight is other for other in inside)]


def _parts(model: tf.keras.Model) -> Iterator[Layer]:
    """Layers, and thresholds inside quantizers."""
    for layer in model.layers:
        yield layer
        if isinstance(getattr(layer, "input_quantizer", None), InstaSign):
            yield layer.input_quantizer.threshold


def _consumers(layer: Layer) -> list[tuple[Layer, int]]:
    """Layers that read a layer's outputs, each with the output's number, once a reading."""
    return [
        (node.layer, tensor._keras_history.tensor_index)
        for node in layer._outbound_nodes
        for tensor in node.keras_inputs
        if tensor._keras_history.layer is layer
    ]


def _sources(layer: Layer) -> list[Layer]:
    return [tensor._keras_history.layer for tensor in layer.inbound_nodes[0].keras_inputs]


def _is_prelu(layer: Layer) -> bool:
    one_use = len(layer.inbound_nodes) == 1
    return one_use and (type(layer) is RPReLU or isinstance(layer, InferencePReLU))


def _is_sign(layer: Layer) -> bool:
    return isinstance(getattr(layer, "input_quantizer", layer), _SIGNS)


def _is_channelwise_norm(layer: Layer) -> bool:
    known = isinstance(layer, tf.keras.layers.BatchNormalization)
    return known and list(layer.axis) == [layer.input_spec.ndim - 1]


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


def _get(layer: RPReLU | InferencePReLU, name: str) -> np.ndarray:
    if isinstance(layer, InferencePReLU):
        return layer.parameters[name]
    return getattr(layer, name).numpy()


def _set(layer: RPReLU | InferencePReLU, name: str, value: np.ndarray) -> None:
    if isinstance(layer, InferencePReLU):
        layer.parameters[name] = value
    else:
        getattr(layer, name).assign(value)


def _times(a: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    return a if b is None else a * b


def _apply(changes: Changes) -> None:
    for change in changes:
        change()
