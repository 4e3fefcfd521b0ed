"""Where a training stops being finite."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import randomize, tiny

from larq_insta.layers import InstaThreshold
from larq_insta.training.diagnosis import NOWHERE, first_non_finite

LAYERS = tf.keras.layers


def student(rng=None, filters=(4,), **threshold):
    """A small model; with `rng` all its weights are random, alphas among them."""
    settings = {"filters": filters, "reuse_statistics": False, "threshold": threshold or None}
    model = tiny("InstaResNet18", **settings)
    if rng is not None:
        randomize(model, rng)
    return model


def pictures(rng, count=8):
    return rng.normal(size=(count, 8, 8, 1)).astype(np.float32)


def loss(predictions):
    return -tf.reduce_mean(tf.math.log(predictions[:, 0]))


def functional(*layers, shape=(3,)):
    """A chain of layers."""
    x = inputs = tf.keras.Input(shape, name="image")
    for layer in layers:
        x = layer(x)
    return tf.keras.Model(inputs, x)


def test_a_healthy_model_is_finite_everywhere(rng):
    assert first_non_finite(student(rng), pictures(rng), loss) == NOWHERE


@pytest.mark.quick(2)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("weight", ["alpha", "batch_norm/moving_variance"])
def test_a_broken_weight_is_named(value, weight, rng):
    model = student()
    layer = model.get_layer("stage1_block3_threshold")
    broken = next(w for w in layer.weights if w.name == f"{layer.name}/{weight}:0")
    broken.assign(tf.tensor_scatter_nd_update(broken, [[1]], [value]))
    where = first_non_finite(model, pictures(rng), loss)
    assert where == f"the weight {weight} of layer stage1_block3_threshold"


def test_a_broken_input_is_named(rng):
    x = pictures(rng)
    x[3, 2, 1] = np.nan
    model = functional(LAYERS.Flatten(), LAYERS.Dense(2, "softmax"), shape=(8, 8, 1))
    assert first_non_finite(model, x, loss) == "the model's input image"


def test_the_layer_whose_cube_overflows_is_named(rng):
    model = student(rng, normalization=None)
    batch_norm = model.get_layer("stage1_block2_batch_norm")
    batch_norm.gamma.assign(tf.fill(batch_norm.gamma.shape, 1e13))
    # In float32 the sum is still finite but its cube is not, in the PReLU's statistic.
    where = first_non_finite(model, pictures(rng), loss)
    assert where.startswith("the output of layer stage1_block2_prelu, whose inputs reach ")
    assert 1e12 < float(where.split()[-1]) < 1e15


def test_a_raw_cube_overflows_in_the_threshold(rng):
    kernel = tf.keras.initializers.Constant(1e13)
    model = functional(
        LAYERS.Conv2D(1, 1, kernel_initializer=kernel, name="conv"),
        InstaThreshold(name="shift"),
        shape=(4, 4, 1),
    )
    where = first_non_finite(model, np.ones((2, 4, 4, 1), np.float32), tf.reduce_sum)
    assert where == "the output of layer shift, whose inputs reach 1.0e+13"


def test_a_loss_that_is_not_finite_is_named(rng):
    model = functional(LAYERS.Dense(2, kernel_initializer="zeros", name="logits"))
    where = first_non_finite(model, np.ones((2, 3), np.float32), loss)
    assert where == "the loss"


class Root(LAYERS.Layer):
    """Finite at 0, its gradient not."""

    def call(self, inputs):
        return tf.sqrt(inputs)


def test_the_layer_that_passes_back_a_broken_gradient_is_named():
    model = functional(
        LAYERS.Dense(4, name="first"),
        LAYERS.Dense(2, kernel_initializer="zeros", name="second"),
        Root(name="root"),
        LAYERS.Dense(2, name="last"),
    )
    where = first_non_finite(model, np.ones((2, 3), np.float32), tf.reduce_sum)
    assert where == "the gradient of the output of layer second, passed back by layer root"


def test_a_loss_that_passes_back_a_broken_gradient_is_named():
    model = functional(LAYERS.Dense(2, kernel_initializer="zeros", name="logits"))
    where = first_non_finite(
        model, np.ones((2, 3), np.float32), lambda x: tf.reduce_sum(tf.sqrt(x))
    )
    assert where == "the gradient of the output of layer logits, passed back by the loss"


def test_a_weight_whose_gradient_alone_is_broken_is_named():
    model = functional(
        LAYERS.Dense(2, name="early"),
        LAYERS.Dense(2, kernel_initializer=tf.keras.initializers.Constant(1e-30), name="late"),
    )
    model.get_layer("early").bias.assign([1e30, 1e30])
    where = first_non_finite(model, np.ones((2, 3), np.float32), lambda x: 1e10 * tf.reduce_sum(x))
    assert where == "the gradient of the weight kernel of layer late"


class Halves(LAYERS.Layer):
    """Two outputs."""

    def call(self, inputs):
        return inputs, 1 / inputs


def test_one_of_many_outputs_is_named():
    inputs = tf.keras.Input((3,))
    outputs = LAYERS.Add()(Halves(name="halves")(inputs))
    model = tf.keras.Model(inputs, outputs)
    where = first_non_finite(model, np.zeros((2, 3), np.float32), tf.reduce_sum)
    assert where == "output 2 of layer halves, whose inputs reach 0.0e+00"


def test_a_nested_model_is_named_with_its_weight():
    nested = tf.keras.Sequential([LAYERS.Dense(2, name="inner", input_shape=(3,))], name="nested")
    model = functional(nested, LAYERS.Dense(2))
    assert first_non_finite(model, np.ones((2, 3), np.float32), tf.reduce_sum) == NOWHERE
    nested.get_layer("inner").bias.assign([0, np.nan])
    where = first_non_finite(model, np.ones((2, 3), np.float32), tf.reduce_sum)
    assert where == "the weight inner/bias of layer nested"


def test_a_shared_layer_can_be_looked_at():
    shared = LAYERS.Dense(3, kernel_initializer=tf.keras.initializers.Constant(1e15), name="shared")
    model = functional(shared, shared, shared)
    where = first_non_finite(model, np.ones((2, 3), np.float32), tf.reduce_sum)
    assert where == "the output of layer shared, whose inputs reach 9.0e+30"


def test_looking_changes_no_weight(rng):
    model = student(rng)
    before = model.get_weights()
    first_non_finite(model, pictures(rng), loss)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
