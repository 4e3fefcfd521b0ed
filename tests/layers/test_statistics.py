"""Instance statistics against NumPy in float64."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from larq_insta import statistics

ORACLES = {
    "mean": lambda x: x.mean((1, 2), keepdims=True),
    "variance": lambda x: x.var((1, 2), keepdims=True),
    "skewness": lambda x: (
        ((x - x.mean((1, 2), keepdims=True)) ** 3).mean((1, 2), keepdims=True)
        / (x.var((1, 2), keepdims=True) + 1e-5) ** 1.5
    ),
    "cube_mean": lambda x: (x**3).mean((1, 2), keepdims=True),
}

maps = arrays(
    np.float64,
    array_shapes(min_dims=4, max_dims=4, max_side=5),
    elements=st.floats(-4, 4, width=32),
)


@pytest.mark.parametrize("name", ORACLES)
@given(x=maps)
@example(x=np.array([0, 1, 1, 1]).reshape(1, 2, 2, 1) / 32)  # variance near skewness's epsilon
def test_statistics_equal_their_definitions(name, x):
    result = statistics.get(name)(tf.constant(x)).numpy()
    assert result.shape == (len(x), 1, 1, x.shape[-1])
    np.testing.assert_allclose(result, ORACLES[name](x), rtol=1e-9, atol=1e-9)


@given(x=maps)
def test_cube_mean_mixes_mean_variance_and_skewness(x):
    mean, variance = ORACLES["mean"](x), ORACLES["variance"](x)
    third = ((x - mean) ** 3).mean((1, 2), keepdims=True)  # skewness times sigma cubed
    expected = mean**3 + 3 * mean * variance + third
    np.testing.assert_allclose(statistics.cube_mean(tf.constant(x)), expected, atol=1e-9)


@pytest.mark.parametrize("name", ORACLES)
def test_gradients_equal_numerical_ones(name, rng):
    x = tf.constant(rng.normal(size=(2, 3, 4, 2)))
    weights = tf.constant(rng.normal(size=(2, 1, 1, 2)))
    analytic, numeric = tf.test.compute_gradient(
        lambda x: statistics.get(name)(x) * weights, [x], delta=1e-5
    )
    np.testing.assert_allclose(analytic[0], numeric[0], atol=1e-8)


def test_cube_mean_gradient_equals_closed_form(rng):
    x, upstream = rng.normal(size=(2, 5, 3, 4)), rng.normal(size=(2, 1, 1, 4))
    variable = tf.Variable(x)
    with tf.GradientTape() as tape:
        y = statistics.cube_mean(variable)
    result = tape.gradient(y, variable, tf.constant(upstream))
    np.testing.assert_allclose(result, 3 * x**2 / 15 * upstream, rtol=1e-12)


def test_cube_mean_keeps_only_its_input_alive_for_the_backward_pass(rng):
    x = tf.constant(rng.normal(size=(2, 5, 3, 4)), tf.float32)
    _, gradient = statistics.cube_mean.__wrapped__(x)
    kept = [cell.cell_contents for cell in gradient.__closure__]
    assert len(kept) == 1
    assert kept[0] is x


@pytest.mark.parametrize("name", ORACLES)
def test_half_precision_is_computed_in_float32(name):
    x = tf.fill((1, 4, 4, 1), tf.constant(100.0, tf.float16))  # its cube overflows float16
    result = statistics.get(name)(x)
    assert result.dtype == tf.float32
    exact = {"mean": 100.0, "variance": 0.0, "skewness": 0.0, "cube_mean": 1e6}
    assert result.numpy().item() == exact[name]


def test_cube_mean_gradient_of_half_precision_is_finite():
    x = tf.Variable(tf.fill((1, 4, 4, 1), tf.constant(100.0, tf.float16)))
    with tf.GradientTape() as tape:
        y = statistics.cube_mean(x)
    gradient = tape.gradient(y, x)
    assert gradient.dtype == tf.float16
    np.testing.assert_allclose(gradient, np.full(x.shape, 3 * 100**2 / 16), rtol=1e-3)


@pytest.mark.parametrize("shape", [(3, 6), (3, 5, 6), (3, 2, 5, 4, 6)])
def test_statistics_are_over_all_axes_between_batch_and_channels(shape, rng):
    x = rng.normal(size=shape)
    expected = (x**3).mean(tuple(range(1, x.ndim - 1)), keepdims=True)
    np.testing.assert_allclose(statistics.cube_mean(tf.constant(x)), expected)


def test_unknown_statistic_is_refused():
    with pytest.raises(ValueError, match="must be one of mean, .*; got 'kurtosis'"):
        statistics.get("kurtosis")
