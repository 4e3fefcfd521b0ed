"""Small networks that people build, and the check of what conversion makes of them."""

import larq as lq
import numpy as np
import tensorflow as tf
from conftest import BINARY, randomize

from larq_insta import RPReLU, StaticThreshold
from larq_insta.conversion import builtin, folding, lowering, verification

L = tf.keras.layers
LOWER = {"lce": lowering.lower, "tflite": builtin.lower}


def q(filters=8, size=3, **kwargs):
    """A binary convolution."""
    return lq.layers.QuantConv2D(filters, size, **{**BINARY, **kwargs})


def classifier(network, shape=(6, 6, 8), classes=3):
    """A classifier that ends behind what `network` makes of its input, with random weights."""
    inputs = tf.keras.Input(shape)
    x = L.Dense(classes, name="last")(L.GlobalAveragePooling2D()(network(inputs)))
    model = tf.keras.Model(inputs, L.Softmax()(x))
    randomize(model, np.random.default_rng(3), 0.1)
    return model


def blocks(x, names=("first", "second")):
    """ReActNet's."""
    for name in names:
        y = StaticThreshold(name=f"{name}_threshold")(x)
        y = L.BatchNormalization(name=f"{name}_norm")(q(name=name)(y))
        x = RPReLU(name=f"{name}_prelu")(L.Add()([x, y]))
    return x


def side_by_side(*networks):
    """All of them on the same input, to be lowered at once."""

    def network(x):
        pooled = [L.GlobalAveragePooling2D(keepdims=True)(part(x)) for part in networks]
        return L.Concatenate()(pooled)

    return network


def pictures(model, count=8):
    shape = (count, *model.input_shape[1:])
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def checked(model, runtime="lce", fold=True):
    """The report of the check of a model's file."""
    network = folding.fold(model) if fold else model
    content, images = LOWER[runtime](network), pictures(model)
    labels = np.zeros(len(images), np.int64)
    return verification.verify(model, network, content, content, images, labels, runtime=runtime)


def assert_equal(report, convolutions=None):
    assert report.problems == ()
    assert report.flips == 0
    assert max(block.deviation for block in report.blocks) < 2e-5
    if convolutions is not None:
        assert report.binary_convolutions == report.expected_convolutions == convolutions
