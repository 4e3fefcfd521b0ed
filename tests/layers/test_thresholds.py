"""Thresholds against closed forms."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import randomize
from oracles import gradients, images, vectors

from larq_insta.layers import InstaThreshold, StaticThreshold


def test_mixed_precision_thresholds_are_those_of_float32(rng):
    policy = tf.keras.mixed_precision.Policy("mixed_float16")
    x = (images(rng) * 60).astype(np.float16)  # E[X^3] is beyond float16's 65504
    half, full = (InstaThreshold(alpha_initializer="ones", dtype=d) for d in (policy, "float32"))
    expected = np.clip(full(x.astype(np.float32)), -65504, 65504)
    np.testing.assert_allclose(half(x), expected, rtol=1e-3)


def test_insta_threshold_equals_the_closed_form(rng):
    x, upstream = rng.normal(size=(2, 3, 5, 4, 6))
    layer = InstaThreshold(dtype="float64")
    layer.build(x.shape)
    alpha, beta = vectors(rng, layer, "alpha", "beta")
    y, (dx, dalpha, dbeta) = gradients(layer, x, upstream, "alpha", "beta")
    cube = (x**3).mean((1, 2), keepdims=True)
    total = upstream.sum((1, 2), keepdims=True)
    np.testing.assert_allclose(y, x - (alpha * cube + beta))
    np.testing.assert_allclose(dx, upstream - 3 * alpha * x**2 / 20 * total)
    np.testing.assert_allclose(dalpha, -(cube * total).sum((0, 1, 2)))
    np.testing.assert_allclose(dbeta, -total.sum((0, 1, 2)))


def test_stopped_gradient_leaves_only_the_direct_path(rng):
    x, upstream = rng.normal(size=(2, 3, 5, 4, 6))
    layer = InstaThreshold(stop_gradient=True, alpha_initializer="ones", dtype="float64")
    layer.build(x.shape)
    _, (dx, dalpha) = gradients(layer, x, upstream, "alpha")
    np.testing.assert_array_equal(dx, upstream)
    assert np.abs(dalpha).max() > 0


@pytest.mark.parametrize("scaling", ["fan_in", None])
def test_plus_branch_equals_numpy_and_starts_as_insta_threshold(scaling, rng):
    x = rng.normal(size=(3, 4, 5, 6))
    arguments = {"alpha_initializer": "ones", "dtype": "float64"}
    plain = InstaThreshold(**arguments)
    plus = InstaThreshold(
        reduction_ratio=2, branch_activation="tanh", branch_scaling=scaling, **arguments
    )
    np.testing.assert_array_equal(plus(x), plain(x))
    reduce, bias, expand = (rng.normal(size=s) for s in ((6, 3), (3,), (3, 6)))
    plus.branch_reduce.kernel.assign(reduce)
    (plus.branch_bias if scaling else plus.branch_reduce.bias).assign(bias)
    plus.branch_expand.set_weights([expand])
    channels, hidden = (6, 3) if scaling else (1, 1)
    cube = (x**3).mean((1, 2))
    branch = np.tanh(np.maximum(cube @ reduce / channels + bias, 0) @ expand / hidden)
    np.testing.assert_allclose(plus(x), x - (cube + branch)[:, None, None])
    for mine, expected in zip(
        plus.branch_weights(), (reduce / channels, bias, expand / hidden), strict=True
    ):
        np.testing.assert_allclose(mine, expected)
    plus.branch_combination, plus.has_alpha = "replace", False
    np.testing.assert_allclose(plus(x), x - branch[:, None, None])


def branch_over_alpha(channels, scaling):
    """How far Adam moves the threshold by the branch, over how far by alpha."""
    tf.keras.utils.set_random_seed(0)
    layer = InstaThreshold("mean", reduction_ratio=4, branch_scaling=scaling)
    x = tf.ones((1, 1, 1, channels))
    layer(x)
    optimizer = tf.keras.optimizers.Adam(0.01)
    for _ in range(10):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(layer.threshold(x))
        weights = layer.trainable_weights
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
    return float(tf.reduce_mean(layer.branch(x)) / tf.reduce_mean(layer.alpha))


def test_adam_moves_a_divided_branch_as_far_at_every_width():
    """Where all channels agree, which is the worst case."""
    assert all(branch_over_alpha(channels, "fan_in") < 2 for channels in (8, 64, 512))
    assert branch_over_alpha(512, None) > 100


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5"])
def test_weights_of_another_scaling_are_refused(suffix, tmp_path):
    def model(scaling):
        layer = InstaThreshold(reduction_ratio=2, branch_scaling=scaling, name="threshold")
        return tf.keras.Sequential([tf.keras.Input((4, 4, 6)), layer])

    model(None).save_weights(tmp_path / f"old{suffix}")
    with pytest.raises(ValueError, match=r"shape|variables"):
        model("fan_in").load_weights(tmp_path / f"old{suffix}")


def test_normalization_of_the_input_or_of_the_statistic(rng):
    x = rng.normal(2, 3, size=(3, 4, 5, 6))
    normal = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
    cube = (normal**3).mean((1, 2), keepdims=True)
    arguments = {"alpha_initializer": "ones", "dtype": "float64"}
    both = InstaThreshold(normalization="batch", **arguments)
    np.testing.assert_allclose(both(x, training=True), normal - cube)
    cube = (x**3).mean((1, 2), keepdims=True)
    normal = (cube - cube.mean((0, 1, 2))) / np.sqrt(cube.var((0, 1, 2)) + 1e-5)
    statistic = InstaThreshold(normalization="statistic", **arguments)
    np.testing.assert_allclose(statistic(x, training=True), x - normal)


def test_a_bounded_statistic(rng):
    x = rng.normal(size=(3, 4, 5, 6))
    cube = (x**3).mean((1, 2), keepdims=True)
    bound = np.median(np.abs(cube))
    layer = InstaThreshold(statistic_bound=bound, alpha_initializer="ones", dtype="float64")
    for training in (False, True):
        y = layer(x, training=training)
        np.testing.assert_allclose(y, x - np.clip(cube, -bound, bound))


def test_shapes_of_a_returned_statistic(rng):
    layer = InstaThreshold(return_statistic=True)
    outputs = layer(images(rng))
    assert [x.shape for x in outputs] == layer.compute_output_shape((3, 4, 5, 6))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"statistic": "variance", "normalization": "statistic"},
        {"normalization": "statistic", "reduction_ratio": 2},
        {"normalization": "batch"},
        {"reduction_ratio": 2, "branch_combination": "replace"},
    ],
)
def test_the_threshold_is_what_a_call_subtracts(arguments, rng):
    layer = InstaThreshold(**arguments)
    inputs = tf.keras.Input((4, 5, 6))
    model = tf.keras.Model(inputs, layer(inputs))
    randomize(model, rng)
    x = tf.constant(rng.normal(size=(3, 4, 5, 6)), tf.float32)
    threshold = layer.threshold(x)
    compared = layer.batch_norm(x) if arguments.get("normalization") == "batch" else x
    assert threshold.shape == (3, 1, 1, 6)
    np.testing.assert_array_equal(compared - threshold, layer(x))


def test_the_static_threshold_is_what_a_call_subtracts(rng):
    layer = StaticThreshold(beta_initializer="random_normal")
    x = tf.constant(rng.normal(size=(3, 4, 5, 6)), tf.float32)
    expected = layer(x)
    assert layer.threshold(x).shape == (1, 1, 1, 6)
    np.testing.assert_array_equal(x - layer.threshold(x), expected)
