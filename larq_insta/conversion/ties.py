"""Binary convolutions that only signs read, with thresholds where Larq Compute Engine errs.

It stores one whole number for such a convolution and its batch normalisation, which sums give +1.
It computes it in float32 from the number of products: next to a sum it is on the wrong side.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import larq as lq
import numpy as np
import tensorflow as tf

from larq_insta.conversion.shifts import is_channelwise_norm
from larq_insta.rewriting.filters import has_one_magnitude
from larq_insta.rewriting.flattening import Call, calls
from larq_insta.rewriting.forms import is_binary

Layer: TypeAlias = tf.keras.layers.Layer

_MARGIN = 2.0**-21
"""Of the number of products, from a sum to a threshold: what an engine adds both in has an error
of 2^-24 of it."""

_KEEPING_ORDER = tf.keras.layers.MaxPooling2D, tf.keras.layers.Reshape, tf.keras.layers.Flatten
_SIGNS = (lq.quantizers.SteSign, lq.quantizers.ApproxSign, lq.quantizers.SwishSign)


@contextmanager
def settled(model: tf.keras.Model) -> Iterator[None]:
    """For a time thresholds lie beside sums, where all signs are those that Keras gives."""
    pairs = list(_thresholds(model))
    before = [norm.moving_mean.numpy() for _, norm in pairs]
    try:
        for convolution, norm in pairs:
            _settle(convolution, norm)
        yield
    finally:
        for (_, norm), mean in zip(pairs, before, strict=True):
            norm.moving_mean.assign(mean)


def _thresholds(model: tf.keras.Model) -> Iterator[tuple[Layer, Layer]]:
    """Such convolutions and the batch normalisations behind them."""
    every, readers = calls(model), defaultdict(list)
    for call in every:
        for source in call.sources:
            readers[source].append(call)
    uses = [call.layer for call in every]
    for call in every:
        if sums_signs(call.layer) and len(readers[call]) == 1:
            (norm,) = readers[call]
            once = uses.count(call.layer) == uses.count(norm.layer) == 1
            if once and is_channelwise_norm(norm.layer) and _feeds_signs(norm, readers):
                yield call.layer, norm.layer


def _feeds_signs(call: Call, readers: Mapping[Call, Sequence[Call]]) -> bool:
    return bool(readers[call]) and all(
        isinstance(getattr(reader.layer, "input_quantizer", reader.layer), _SIGNS)
        or (isinstance(reader.layer, _KEEPING_ORDER) and _feeds_signs(reader, readers))
        for reader in readers[call]
    )


def sums_signs(layer: Layer) -> bool:
    """Whether an engine can tell by whole numbers which of a layer's outputs are positive."""
    return (
        type(layer) is lq.layers.QuantConv2D
        and is_binary(layer.kernel_quantizer)
        and (layer.padding == "valid" or layer.pad_values == 1)
        and layer.activation is tf.keras.activations.linear
        and layer.groups == 1
    )


def _settle(convolution: Layer, norm: Layer) -> None:
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
