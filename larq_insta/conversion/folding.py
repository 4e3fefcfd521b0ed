"""Rewrites a model for inference: the same function with fewer passes over large maps.

A constant that a layer adds to a whole map moves into batch normalisations, thresholds and
biases around it, where it costs nothing. All rewriting is exact but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterator

import larq as lq
import numpy as np
import tensorflow as tf

from larq_insta.conversion.copying import Layer, for_inference
from larq_insta.conversion.shifts import (
    Changes,
    Refused,
    consumers,
    get_parameter,
    is_channelwise_norm,
    is_prelu,
    raise_inputs,
    raise_output,
    set_parameter,
    shift_prelu,
    shift_threshold,
)
from larq_insta.layers import InstaSign
from larq_insta.layers.inference import InferenceLayer, InferencePReLU, InferenceThreshold

_SIGNS = (lq.quantizers.ApproxSign, lq.quantizers.SteSign)
_LEAST_SCALE = 1e-6
"""Of a map's largest: with less, what is subtracted leaves nothing of the map's numbers."""


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


def sign_scales(folded: tf.keras.Model) -> list[np.ndarray]:
    """By what channels of a folded model's thresholds are larger than those of the original."""
    scales = (getattr(part, "output_scale", None) for part in _parts(folded))
    return [scale for scale in scales if scale is not None]


def merge_input_normalization(layer: Layer) -> None:
    r"""Takes batch normalisation in front of INSTA-Th into its parameters and one shift.

    In front of a sign \\((x - m) / s - TH\\) may be multiplied by \\(s > 0\\), and a
    statistic of degree \\(k\\) is \\(S((x - m) / s) = S(x - m) / s^k\\).
    """
    if not isinstance(layer, InferenceThreshold) or layer.moments is None or layer.degree is None:
        return
    if layer.branch is not None and layer.branch_activation is not tf.keras.activations.linear:
        return
    if not all(_is_sign(consumer) for consumer, index in consumers(layer) if index == 0):
        return
    mean, deviation = layer.moments
    layer.moments, layer.output_scale = None, deviation
    layer.scale = _times(1 / deviation**layer.degree, layer.scale)
    layer.beta = deviation * layer.beta
    if layer.alpha is not None:
        layer.alpha = deviation * layer.alpha
    if layer.branch is not None:
        reduce, bias, expand = layer.branch
        layer.branch = (reduce, bias, expand * deviation)
    shift_threshold(layer, -mean)


def merge_statistic_normalization(layer: Layer) -> None:
    r"""Takes scale and offset of a statistic into what multiplies it, and into its limits.

    \\(\alpha (a S + b) + \beta = (\alpha a) S + (\beta + \alpha b)\\), with \\(a > 0\\).
    """
    if not isinstance(layer, InferenceLayer) or layer.scale is None:
        return
    users = [layer]
    if isinstance(layer, InferenceThreshold):
        users += [consumer for consumer, index in consumers(layer) if index == 1]
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


def merge_sign_normalization(layer: Layer) -> None:
    r"""Leaves of batch normalisation in front of signs alone what it subtracts.

    \\(\gamma (x - m) / s + \beta\\) has the sign of \\(x - (m - \beta s / \gamma)\\), as a rule:
    where \\(\gamma > 0\\) in all channels.
    """
    if not is_channelwise_norm(layer) or len(layer.inbound_nodes) != 1:
        return
    source = layer.inbound_nodes[0].keras_inputs[0]._keras_history.layer
    readers = consumers(layer)
    if isinstance(source, tf.keras.layers.Conv2D):
        return  # converters merge both, and next to a sum of signs nothing may be rounded
    if not readers or not all(_is_sign(reader) for reader, _ in readers):
        return
    deviation = np.sqrt(layer.moving_variance.numpy() + np.float32(layer.epsilon))
    scale = (layer.gamma.numpy() if layer.scale else 1) / deviation
    if not (scale > _LEAST_SCALE * scale.max()).all():
        return
    if layer.center:
        layer.moving_mean.assign_sub(layer.beta / scale)
        layer.beta.assign(np.zeros_like(scale))
    layer.moving_variance.assign(np.full_like(scale, 1 - layer.epsilon))
    if layer.scale:
        layer.gamma.assign(np.ones_like(scale))
    layer.output_scale = 1 / scale


def fold_first_shift(layer: Layer) -> None:
    """Takes RPReLU's first shift into the batch normalisations in front of it."""
    if not is_prelu(layer):
        return
    if isinstance(layer, InferencePReLU) and layer.own_statistic and "gamma" in layer.alphas:
        return  # one subtraction remains anyway, and the statistic would need a shift
    gamma = get_parameter(layer, "gamma")
    source = layer.inbound_nodes[0].keras_inputs[0]._keras_history.layer
    try:
        changes = raise_output(source, -gamma)
    except Refused:
        return
    _apply(changes)
    shift_prelu(layer, gamma)


def fold_second_shift(layer: Layer) -> None:
    """Takes RPReLU's second shift into all that reads it."""
    if not is_prelu(layer):
        return
    if isinstance(layer, InferencePReLU) and "zeta" in layer.alphas:
        return
    zeta = get_parameter(layer, "zeta")
    try:
        changes = raise_inputs(layer, zeta)
    except Refused:
        return
    _apply(changes)
    set_parameter(layer, "zeta", np.zeros_like(zeta))


FOLDS = (
    merge_input_normalization,
    merge_statistic_normalization,
    merge_sign_normalization,
    fold_first_shift,
    fold_second_shift,
)
"""In this order."""


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


def _parts(model: tf.keras.Model) -> Iterator[Layer]:
    """Layers, and thresholds inside quantizers."""
    for layer in model.layers:
        yield layer
        if isinstance(getattr(layer, "input_quantizer", None), InstaSign):
            yield layer.input_quantizer.threshold


def _is_sign(layer: Layer) -> bool:
    return isinstance(getattr(layer, "input_quantizer", layer), _SIGNS)


def _times(a: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    return a if b is None else a * b


def _apply(changes: Changes) -> None:
    for change in changes:
        change()
