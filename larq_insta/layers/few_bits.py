"""Convolutions of binary weights whose inputs have a few bits, as sums of binary ones.

DoReFa's quantizer of k bits gives round(n x) / n, n = 2^k - 1, of an x cut off at 0 and 1. That
is half of 1 + the mean of n signs, of n x - 1/2, n x - 3/2 and so on.
"""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import larq as lq
import numpy as np
import tensorflow as tf

from larq_insta.rewriting.forms import is_binary

Layer: TypeAlias = tf.keras.layers.Layer

_MOST_BITS = 3
"""Of more, with 15 signs and more in place of a number, it would not be faster than in float."""


def levels(layer: Layer) -> int:
    """How many signs an input of a layer is a sum of; 0 if it is none, or of another layer."""
    quantizer = getattr(layer, "input_quantizer", None)
    if not isinstance(quantizer, lq.quantizers.DoReFa) or quantizer.mode != "activations":
        return 0
    binary = is_binary(getattr(layer, "kernel_quantizer", None))
    if not binary or quantizer.precision > _MOST_BITS or not (_is_plain(layer) or _is_dense(layer)):
        return 0
    return 2**quantizer.precision - 1


def read(layer: Layer, x: tf.Tensor) -> tf.Tensor:
    """What the signs read, one after the other along the channels; with what lies around it.

    Where Keras pads with zeros all signs are -1, and engines pad signs with 1 or nothing.
    """
    n = levels(layer)
    if not _is_dense(layer) and layer.padding == "same":
        x = tf.pad(x, layer._get_padding_same(x), constant_values=layer.pad_values)
    return tf.concat([x * n] * n, -1) - np.repeat(_steps(n), x.shape[-1])


@cache
def _steps(n: int) -> np.ndarray:
    """At which n x the signs change: a half is rounded to the even number, so not always up."""
    halves = np.arange(n, dtype=np.float32) + np.float32(0.5)
    return np.where(np.arange(n) % 2, halves, np.nextafter(halves, np.float32(np.inf)))


def stand_ins(model: tf.keras.Model, kind: type[StandIn]) -> dict[Layer, Layer]:
    """A new layer of a kind for each of these layers of a model."""
    return {layer: kind(layer) for layer in model._flatten_layers() if levels(layer)}


class StandIn(tf.keras.layers.Layer):
    """Computes what a layer does by signs."""

    def __init__(self, layer: Layer) -> None:
        super().__init__(name=layer.name)
        self._original, self._levels = [layer], levels(layer)  # in a list it is no sublayer
        with lq.context.quantized_scope(True):
            kernel = layer.kernel.numpy()
        self.prepare(kernel if kernel.ndim == 4 else kernel[None, None])

    def prepare(self, kernel: np.ndarray) -> None:
        """Takes over the kernel `(height, width, channels, filters)`."""
        raise NotImplementedError

    def convolve(self, signs: tf.Tensor) -> tf.Tensor:
        """The layer's sums, but for its bias."""
        raise NotImplementedError

    def call(self, x: tf.Tensor) -> tf.Tensor:
        (layer,) = self._original
        given = x if x.shape.rank == 4 else tf.reshape(x, (1, 1, 1, -1))
        y = self.convolve(lq.math.sign(read(layer, given)))
        y = y if x.shape.rank == 4 else tf.reshape(y, (1, -1))
        return layer.activation(y + layer.bias if layer.use_bias else y)

    def _convolution(self, kernel: np.ndarray) -> Layer:
        (layer,) = self._original
        names = () if _is_dense(layer) else ("strides", "dilation_rate")
        convolution = tf.keras.layers.Conv2D(
            kernel.shape[-1],
            kernel.shape[:2],
            use_bias=False,
            name=layer.name,
            **{name: getattr(layer, name) for name in names},
        )
        convolution.build((None, None, None, kernel.shape[2]))
        convolution.set_weights([kernel])
        return convolution


class AsBinary(StandIn):
    """By one binary convolution of all signs, and a vector."""

    def prepare(self, kernel: np.ndarray) -> None:
        n = self._levels
        self._offset = kernel.sum((0, 1, 2), dtype=np.float64).astype(np.float32) / 2
        self._sums = self._convolution(np.concatenate([kernel] * n, axis=2) / (2 * n))

    def convolve(self, signs: tf.Tensor) -> tf.Tensor:
        return self._sums(signs) + self._offset


class AsFloat(StandIn):
    """By a float convolution of the signs' sum, for engines without binary ones."""

    def prepare(self, kernel: np.ndarray) -> None:
        self._sums = self._convolution(kernel)

    def convolve(self, signs: tf.Tensor) -> tf.Tensor:
        n = self._levels
        return self._sums((tf.add_n(tf.split(signs, n, -1)) + n) / (2 * n))


def _is_plain(layer: Layer) -> bool:
    return (
        type(layer) is lq.layers.QuantConv2D
        and (layer.groups, layer.data_format) == (1, "channels_last")
        and layer.pad_values in (0.0, 1.0)
    )


def _is_dense(layer: Layer) -> bool:
    return type(layer) is lq.layers.QuantDense and len(layer.input_shape) == 2
