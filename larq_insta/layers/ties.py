"""Thresholds of binary convolutions that lie on one of their sums, or next to it."""

from __future__ import annotations

from typing import TypeAlias

import larq as lq
import numpy as np
import tensorflow as tf

from larq_insta.rewriting.filters import has_one_magnitude

Layer: TypeAlias = tf.keras.layers.Layer

_MARGIN = 2.0**-21
"""Of the number of products, from a sum to a threshold: what an engine adds both in has an error
of 2^-24 of it."""


def sums_signs(layer: Layer) -> bool:
    """Whether an engine can tell by whole numbers which of a layer's outputs are positive."""
    return (
        type(layer) is lq.layers.QuantConv2D
        and getattr(layer.kernel_quantizer, "precision", None) == 1
        and (layer.padding == "valid" or layer.pad_values == 1)
        and layer.activation is tf.keras.activations.linear
        and layer.groups == 1
    )


def settle(convolution: Layer, norm: Layer) -> None:
    """Moves a batch normalisation behind a binary convolution where its signs are no matter of
    rounding; they stay those that Keras gives of every sum.
    """
    with lq.context.quantized_scope(True):
        kernel = convolution.kernel.numpy()
    if not has_one_magnitude(kernel, 3).all():
        return
    products, unit = np.prod(kernel.shape[:3]), np.abs(kernel).max((0, 1, 2)).astype(np.float64)
    bias = convolution.bias.numpy() if convolution.use_bias else 0
    scale, threshold = _affine(norm)
    with np.errstate(divide="ignore", invalid="ignore"):
        sums = products - 2 * np.rint((products - (threshold - bias) / unit) / 2)
    nearest = (sums * unit + bias).astype(np.float32)
    margin = products * _MARGIN * unit
    close = (np.abs(threshold - nearest) < margin) & (scale != 0)  # never what is not finite
    positive = norm(nearest.reshape(1, 1, 1, -1), training=False).numpy().reshape(-1) >= 0
    side = np.where(positive == (scale > 0), -margin, margin)
    shift = np.where(close, nearest + side - threshold, 0)
    norm.moving_mean.assign_add(shift.astype(np.float32))


def _affine(norm: Layer) -> tuple[np.ndarray, np.ndarray]:
    """By what a batch normalisation multiplies, and what it maps to zero."""
    mean, variance = (np.float64(x.numpy()) for x in (norm.moving_mean, norm.moving_variance))
    scale = (np.float64(norm.gamma.numpy()) if norm.scale else 1) / np.sqrt(variance + norm.epsilon)
    beta = np.float64(norm.beta.numpy()) if norm.center else 0
    with np.errstate(divide="ignore", invalid="ignore"):
        return scale, mean - beta / scale
