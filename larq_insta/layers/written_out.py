"""Kernels as what their quantizers make of them, for converters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf
from larq.quantized_variable import QuantizedVariable


@contextmanager
def kernels_written_out(model: tf.keras.Model) -> Iterator[None]:
    """For a time quantized kernels are weights, and nothing quantizes them.

    Converters compute constants themselves, but not those of some millions of numbers.
    """
    weights = [weight for layer in model._flatten_layers() for weight in layer.weights]
    kernels = {id(w): w for w in weights if isinstance(w, QuantizedVariable) and w.quantizer}
    before = [(w, w.quantizer, w.latent_variable.numpy()) for w in kernels.values()]
    try:
        for kernel, quantizer, latent in before:
            kernel.latent_variable.assign(quantizer(tf.constant(latent)))
            kernel.quantizer = None
        yield
    finally:
        for kernel, quantizer, latent in before:
            kernel.quantizer = quantizer
            kernel.latent_variable.assign(latent)
