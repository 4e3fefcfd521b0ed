"""RPReLU as a function of its parameters: in inference, and in training with lean gradients."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from larq_insta.layers.channelwise import add_saturated, narrow
from larq_insta.layers.fused import fused, instance_sum, parts


def rprelu(x: tf.Tensor, parameters: list[tf.Tensor], training: bool | None) -> tf.Tensor:
    if training:
        return rprelu_in_training(x, *parameters)
    gamma, slope, zeta = parameters
    return shifted_prelu(add_saturated(x, -gamma), slope, zeta)


def shifted_prelu(shifted: tf.Tensor, slope: tf.Tensor, zeta: tf.Tensor) -> tf.Tensor:
    """RPReLU of an input from which gamma was subtracted."""
    if slope.shape.rank == 1:
        slope = tf.reshape(slope, (*[1] * (shifted.shape.rank - 2), -1))
    # This form, with a slope of one rank less than the input, becomes one TFLite PRELU.
    negative = tf.cast(-slope, shifted.dtype) * tf.nn.relu(-shifted)
    return add_saturated(tf.nn.relu(shifted) + negative, zeta)


def rprelu_in_training(
    x: tf.Tensor,
    gamma: tf.Tensor,
    slope: tf.Tensor,
    zeta: tf.Tensor,
    passes_gradient: bool = False,
) -> tf.Tensor:
    """`RPReLU`, each parameter of shape `(channels,)` or `(batch, 1, ..., 1, channels)`.

    The backward pass keeps nothing alive but the input. With `passes_gradient` it hands
    the upstream gradient on to `x` as it is, for what made `x` to multiply in its own pass.
    """

    @tf.custom_gradient
    def compute(
        x: tf.Tensor, gamma: tf.Tensor, slope: tf.Tensor, zeta: tf.Tensor
    ) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, ...]]]:
        def grad(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            sums = _gradient_sums(x, upstream, _in_parts(gamma), _in_parts(slope))
            parameters = [
                _like(parameter, instance_sum(part, x.shape.rank))
                for parameter, part in zip((gamma, slope, zeta), sums, strict=True)
            ]
            if passes_gradient:
                return upstream, *parameters
            return _input_gradient(x, upstream, gamma, slope), *parameters

        return _forward(x, gamma, slope, zeta), grad

    return compute(x, gamma, slope, zeta)


@fused
def _forward(x: tf.Tensor, gamma: tf.Tensor, slope: tf.Tensor, zeta: tf.Tensor) -> tf.Tensor:
    shifted = tf.cast(x, gamma.dtype) - gamma
    return narrow(tf.where(shifted > 0, shifted, slope * shifted) + zeta, x.dtype)


@fused
def _input_gradient(
    x: tf.Tensor, upstream: tf.Tensor, gamma: tf.Tensor, slope: tf.Tensor
) -> tf.Tensor:
    return tf.cast(_through(tf.cast(x, gamma.dtype), upstream, gamma, slope), x.dtype)


@fused
def input_gradient_with_squares(
    x: tf.Tensor, upstream: tf.Tensor, gamma: tf.Tensor, slope: tf.Tensor, factor: tf.Tensor
) -> tf.Tensor:
    """`_input_gradient` and `factor * x * x` of a cube's mean."""
    wide = tf.cast(x, gamma.dtype)
    return tf.cast(_through(wide, upstream, gamma, slope) + factor * wide * wide, x.dtype)


def _through(x: tf.Tensor, upstream: tf.Tensor, gamma: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    upstream = tf.cast(upstream, gamma.dtype)
    return tf.where(x > gamma, upstream, slope * upstream)


@fused
def _gradient_sums(
    x: tf.Tensor, upstream: tf.Tensor, gamma: tf.Tensor, slope: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """Of gamma, slope and zeta, summed over all but some of the positions."""
    pairs = zip(parts(tf.cast(x, gamma.dtype)), parts(tf.cast(upstream, gamma.dtype)), strict=True)
    terms = []
    for part, gradient in pairs:
        shifted = part - gamma
        positive = shifted > 0
        of_gamma = tf.where(positive, -gradient, -slope * gradient)
        of_slope = tf.where(positive, tf.zeros_like(gradient), shifted * gradient)
        terms.append((of_gamma, of_slope, gradient))
    return tuple(tf.add_n(term) for term in zip(*terms, strict=True))


def _in_parts(parameter: tf.Tensor) -> tf.Tensor:
    """To be broadcast with what `parts` gives."""
    channels = parameter.shape[-1]
    return parameter if parameter.shape.rank == 1 else tf.reshape(parameter, (-1, 1, channels))


def _like(parameter: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    if parameter.shape.rank == 1:
        gradient = tf.reduce_sum(gradient, axis=list(range(gradient.shape.rank - 1)))
    return tf.cast(gradient, parameter.dtype)
