"""Chains of operations on large maps, compiled by XLA to single passes, for training.

TensorFlow's own kernels do one operation at a time, each as slowly as memory is read and
written, and keep what lies between for the backward pass. Inference stays with plain
operations, as only these are lowered for devices.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

_MOST_PARTS = 8


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function of tensors, once for all of the same static shapes and types."""

    @functools.cache
    def compiled(*specs: tuple[tuple[int | None, ...], tf.DType]) -> Callable[..., Any]:
        # Concrete, as a function that meets many shapes warns of tracing too often.
        with tf.init_scope():
            return tf.function(function, jit_compile=True, autograph=False).get_concrete_function(
                *(tf.TensorSpec(shape, dtype) for shape, dtype in specs)
            )

    @functools.wraps(function)
    def call(*tensors: tf.Tensor) -> Any:
        return compiled(*((tuple(x.shape), x.dtype) for x in tensors))(*tensors)

    return call


def parts(x: tf.Tensor) -> list[tf.Tensor]:
    """Splits maps `(batch, ..., channels)` into `(batch, positions, channels)` of equal size.

    Their sum, unlike that over all positions, is an operation by element, which XLA fuses
    with what it sums and shares among processors.
    """
    positions = x.shape[1:-1].num_elements() or 1
    count = next(n for n in range(_MOST_PARTS, 0, -1) if positions % n == 0)
    return tf.unstack(tf.reshape(x, (tf.shape(x)[0], count, -1, x.shape[-1])), axis=1)


def instance_sum(part: tf.Tensor, rank: int) -> tf.Tensor:
    """Sums what is left of maps' positions; shape `(batch, 1, ..., 1, channels)`."""
    return tf.reshape(tf.reduce_sum(part, axis=1), (-1, *[1] * (rank - 2), part.shape[-1]))
