"""What the tests of layers against closed forms share."""

import numpy as np
import tensorflow as tf


def images(rng, *shape):
    return rng.normal(size=shape or (3, 4, 5, 6)).astype(np.float32)


def vectors(rng, layer, *names):
    """Gives a built layer random vectors, and returns them as float64 arrays."""
    values = [rng.normal(0, 0.3, getattr(layer, name).shape) for name in names]
    for name, value in zip(names, values, strict=True):
        getattr(layer, name).assign(value)
    return values


def gradients(layer, x, upstream, *names):
    x = tf.Variable(x)
    with tf.GradientTape() as tape:
        y = layer(x)
    sources = [x, *(getattr(layer, name) for name in names)]
    return y.numpy(), [g.numpy() for g in tape.gradient(y, sources, tf.constant(upstream))]
