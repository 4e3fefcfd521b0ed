"""Statistics of one instance: moments over the spatial axes, for each channel.

All of them map `(batch, ..., channels)` to `(batch, 1, ..., 1, channels)` and are
computed in float32 whatever the input's precision (in float64 for float64 inputs): the
cube overflows float16 beyond 40. They use no other instance of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import tensorflow as tf

from larq_insta.layers.fused import fused, instance_sum, parts

Statistic: TypeAlias = Callable[[tf.Tensor], tf.Tensor]

_EPSILON = 1e-5


def wide_dtype(dtype: tf.DType | str) -> tf.DType:
    """The precision for statistics of tensors of `dtype`: float64 stays, others float32."""
    return tf.float64 if tf.as_dtype(dtype) == tf.float64 else tf.float32


def mean(x: tf.Tensor) -> tf.Tensor:
    r"""Instance mean, \\(\mu = E[X]\\)."""
    return _spatial_mean(_widen(x))


def variance(x: tf.Tensor) -> tf.Tensor:
    r"""Instance variance, \\(\sigma^2 = E[(X - \mu)^2]\\)."""
    x = _widen(x)
    return _spatial_mean(tf.square(x - _spatial_mean(x)))


def skewness(x: tf.Tensor) -> tf.Tensor:
    r"""Instance skewness, \\(E[(X - \mu)^3] / (\sigma^2 + \epsilon)^{3/2}\\).

    \\(\epsilon = 10^{-5}\\) makes a constant map's skewness 0 instead of 0 / 0.
    """
    x = _widen(x)
    deviation = x - _spatial_mean(x)
    squared = tf.square(deviation)
    second, third = _spatial_mean(squared), _spatial_mean(squared * deviation)
    second += tf.constant(_EPSILON, x.dtype)  # `cast` would round it to float32
    # Not `pow`: its vectorised form rounds otherwise, and so as the batch's size has it.
    return third / (second * tf.sqrt(second))


@tf.custom_gradient
def cube_mean(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    r"""Third raw moment, \\(E[X^3] = \mu^3 + 3 \mu \sigma^2 + skew \cdot \sigma^3\\).

    With \\(N\\) the number of spatial positions and upstream gradient \\(g\\),

    \\[\frac{\partial L}{\partial x_i} = \frac{3 g}{N} x_i^2\\]

    The backward pass keeps nothing alive but the input.
    """

    def grad(upstream: tf.Tensor) -> tf.Tensor:
        wide = _widen(x)
        return tf.cast(3.0 * upstream / _positions(x) * wide * wide, x.dtype)

    wide = _widen(x)
    # A product, as `x ** 3` becomes a slow POW that no delegate takes in TFLite.
    return _spatial_mean(wide * wide * wide), grad


InputGradient: TypeAlias = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def cube_mean_in_training(
    x: tf.Tensor, input_gradient: InputGradient | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """`cube_mean(x)`, and `x` for further use, in one pass over `x` and one back.

    What follows must use the second instead of `x`: its gradient is added on the way.

    # Arguments
        x: The maps.
        input_gradient: Gives the gradient of `x` from that of the second output and a
            factor, by adding `factor * x * x`; to do more in the same pass, or to take `x`
            from what else is kept alive for the backward pass.
    """

    @tf.custom_gradient
    def compute(x: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., Any]]:
        positions = _positions(x)

        def grad(upstream: tf.Tensor, passed: tf.Tensor) -> tf.Tensor:
            factor = 3.0 * upstream / positions
            if input_gradient is not None:
                return input_gradient(passed, factor)
            return plus_squares(passed, x, tf.zeros_like(factor), factor)

        return (instance_sum(_cubes(x), x.shape.rank) / positions, x), grad

    return compute(x)


@fused
def _cubes(x: tf.Tensor) -> tf.Tensor:
    return tf.add_n([part * part * part for part in parts(_widen(x))])


@fused
def plus_squares(
    gradient: tf.Tensor, y: tf.Tensor, shift: tf.Tensor, factor: tf.Tensor
) -> tf.Tensor:
    """`gradient + factor * x * x` of `x = y + shift`, in `gradient`'s precision."""
    x = _widen(y) + shift
    return tf.cast(_widen(gradient) + factor * x * x, gradient.dtype)


_STATISTICS: dict[str, Statistic] = {
    "mean": mean,
    "variance": variance,
    "skewness": skewness,
    "cube_mean": cube_mean,
}


def get(name: str | None) -> Statistic:
    """The statistic called `name`.

    # Raises
        ValueError: if there is none of that name.
    """
    if not isinstance(name, str) or name not in _STATISTICS:
        known = ", ".join(_STATISTICS)
        raise ValueError(f"`statistic` must be one of {known}; got {name!r}.")
    return _STATISTICS[name]


def _widen(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, wide_dtype(x.dtype))


def _positions(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.reduce_prod(tf.shape(x)[1:-1]), wide_dtype(x.dtype))


def _spatial_mean(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(x, axis=list(range(1, x.shape.rank - 1)), keepdims=True)
