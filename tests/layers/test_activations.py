"""PReLUs against closed forms, and statistics that they reuse."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import randomize
from oracles import gradients, images, vectors

from larq_insta.layers import InstaPReLU, InstaThreshold, RPReLU, activations
from larq_insta.layers.quantizers import InstaSign


def test_rprelu_equals_the_closed_form(rng):
    x, upstream = rng.normal(size=(2, 3, 5, 4, 6))
    layer = RPReLU(dtype="float64")
    layer.build(x.shape)
    np.testing.assert_array_equal(layer.slope, np.full(6, 0.25))
    names = ("gamma", "slope", "zeta")
    gamma, slope, zeta = vectors(rng, layer, *names)
    y, (dx, dgamma, dslope, dzeta) = gradients(layer, x, upstream, *names)
    positive = x > gamma
    d = np.where(positive, 1, slope)
    np.testing.assert_allclose(y, d * (x - gamma) + zeta)
    np.testing.assert_allclose(dx, d * upstream)
    np.testing.assert_allclose(dgamma, -(d * upstream).sum((0, 1, 2)))
    np.testing.assert_allclose(dslope, (~positive * (x - gamma) * upstream).sum((0, 1, 2)))
    np.testing.assert_allclose(dzeta, upstream.sum((0, 1, 2)))


@pytest.mark.parametrize("aware", ["gamma", "slope", "zeta"])
def test_insta_prelu_equals_the_closed_form(aware, rng):
    x, upstream = rng.normal(size=(2, 3, 5, 4, 6))
    layer = InstaPReLU((aware,), dtype="float64")
    layer.build(x.shape)
    values = dict(
        zip(activations.PARAMETERS, vectors(rng, layer, *activations.PARAMETERS), strict=True)
    )
    (alpha,) = vectors(rng, layer, f"alpha_{aware}")
    y, (dx, dalpha) = gradients(layer, x, upstream, f"alpha_{aware}")
    cube = (x**3).mean((1, 2), keepdims=True)
    values[aware] = values[aware] + alpha * cube
    gamma, slope, zeta = (values[name] for name in activations.PARAMETERS)
    d = np.where(x > gamma, 1, slope)
    of_parameter = {
        "gamma": -d * upstream,
        "slope": (x <= gamma) * (x - gamma) * upstream,
        "zeta": upstream,
    }
    h = of_parameter[aware].sum((1, 2), keepdims=True)
    np.testing.assert_allclose(y, d * (x - gamma) + zeta)
    np.testing.assert_allclose(dalpha, (cube * h).sum((0, 1, 2)))
    np.testing.assert_allclose(dx, d * upstream + 3 * alpha * x**2 * h / 20)


def reusing(rng, dtype=None, **threshold):
    """A model whose PReLU takes the statistic of the threshold, and one whose computes it."""

    def build(reuse):
        inputs = tf.keras.Input((4, 5, 6), dtype=dtype)
        shifted = InstaThreshold(return_statistic=reuse, dtype=dtype, **threshold)(inputs)
        if reuse:
            prelu = InstaPReLU(("gamma", "zeta"), statistic=None, dtype=dtype)
            outputs = [shifted[0], prelu(inputs, statistic=shifted[1])]
        else:
            prelu = InstaPReLU(
                ("gamma", "zeta"), threshold.get("statistic", "cube_mean"), dtype=dtype
            )
            outputs = [shifted, prelu(inputs)]
        return tf.keras.Model(inputs, outputs)

    models = build(True), build(False)
    randomize(models[0], rng)
    models[1].set_weights(models[0].get_weights())
    return models


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("statistic", ["cube_mean", "variance"])
def test_a_reused_statistic_is_the_same_as_an_own_one(statistic, training, rng):
    """Of the same input; forwards, and backwards to the input and all weights."""
    x = tf.constant(rng.normal(size=(3, 4, 5, 6)))
    upstream = [tf.constant(rng.normal(size=x.shape)) for _ in range(2)]
    outcomes = []
    for model in reusing(rng, "float64", statistic=statistic):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = model(x, training=training)
        outcomes.append([*y, *tape.gradient(y, [x, *model.trainable_variables], upstream)])
    for reused, own in zip(*outcomes, strict=True):
        np.testing.assert_allclose(reused, own, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning")
def test_reuse_is_saved(suffix, rng, tmp_path):
    model, _ = reusing(rng, normalization="statistic")
    model.save(tmp_path / f"m{suffix}")
    loaded = tf.keras.models.load_model(tmp_path / f"m{suffix}")
    x = images(rng)
    for a, b in zip(loaded(x), model(x), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_reused_statistic_stays_wide_in_mixed_precision(rng):
    """A cube of 50 is beyond float16."""
    inputs = tf.keras.Input((4, 5, 6))
    threshold = InstaThreshold(return_statistic=True, dtype="mixed_float16")
    prelu = InstaPReLU(statistic=None, dtype="mixed_float16", alpha_initializer="ones")
    shifted, statistic = threshold(inputs)
    assert (shifted.dtype, statistic.dtype) == (tf.float16, tf.float32)
    model = tf.keras.Model(inputs, prelu(inputs, statistic=1e-5 * statistic))
    y = model(np.full((1, 4, 5, 6), 50.0, np.float32))
    np.testing.assert_allclose(y, 50 - 1.25, rtol=1e-3)


def test_stop_gradient_stops_a_given_statistic(rng):
    x, s = tf.constant(images(rng)), tf.constant(rng.normal(size=(3, 1, 1, 6)), tf.float32)
    for stop in (False, True):
        layer = InstaPReLU(statistic=None, stop_gradient=stop, alpha_initializer="ones")
        with tf.GradientTape() as tape:
            tape.watch(s)
            y = layer(x, statistic=s, training=True)
        assert (tape.gradient(y, s) is None) == stop


def test_statistics_must_be_given_where_they_are_expected(rng):
    x, s = images(rng), np.zeros((3, 1, 1, 6), np.float32)
    with pytest.raises(ValueError, match="statistic=None.* must be called with a statistic; got n"):
        InstaPReLU(statistic=None)(x)
    with pytest.raises(ValueError, match="'mean'.* must be called without a statistic; got one"):
        InstaPReLU(statistic="mean")(x, statistic=s)
    with pytest.raises(ValueError, match=r"6 channels; got shape \(3, 1, 1, 1\)"):
        InstaPReLU(statistic=None)(x, statistic=s[..., :1])
    for name, value in (("normalization", "statistic"), ("statistic_bound", 8.0)):
        with pytest.raises(ValueError, match=f"`{name}` must be None .* got {value!r}"):
            InstaPReLU(statistic=None, **{name: value})
    with pytest.raises(ValueError, match="`statistic` must be one of .* got None"):
        InstaThreshold(statistic=None)
    with pytest.raises(ValueError, match="must give one output; got return_statistic=True"):
        InstaSign(InstaThreshold(return_statistic=True))
