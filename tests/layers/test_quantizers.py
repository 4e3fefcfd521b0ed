"""InstaSign as a drop-in quantizer in Larq's layers."""

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

from larq_insta import InstaSign, InstaThreshold, StaticThreshold


def convolution(quantizer, **kwargs):
    return lq.layers.QuantConv2D(
        5,
        3,
        padding="same",
        pad_values=1.0,
        input_quantizer=quantizer,
        kernel_quantizer="magnitude_aware_sign",
        kernel_constraint="weight_clip",
        **kwargs,
    )


def test_equals_threshold_followed_by_approx_sign(rng):
    x = tf.Variable(rng.normal(size=(2, 6, 7, 4)).astype(np.float32))
    fused = convolution(InstaSign())
    threshold, plain = InstaThreshold(), convolution("approx_sign")
    fused(x), plain(threshold(x))
    plain.set_weights(fused.get_weights()[:2])
    for name in ("alpha", "beta"):
        value = rng.normal(0, 0.1, 4)
        getattr(threshold, name).assign(value)
        getattr(fused.input_quantizer.threshold, name).assign(value)
    inner = fused.input_quantizer.threshold
    with tf.GradientTape(persistent=True) as tape:
        y, y_separate = fused(x), plain(threshold(x))
    np.testing.assert_array_equal(y, y_separate)
    upstream = rng.normal(size=y.shape).astype(np.float32)
    one = tape.gradient(y, [x, inner.alpha, inner.beta, fused.kernel.latent_variable], upstream)
    two = tape.gradient(
        y_separate, [x, threshold.alpha, threshold.beta, plain.kernel.latent_variable], upstream
    )
    for a, b in zip(one, two, strict=True):
        assert np.abs(a).max() > 0
        np.testing.assert_array_equal(a, b)


def test_pseudo_gradient_equals_the_closed_form(rng):
    x, upstream = (rng.normal(0, 0.7, size=(2, 4, 5, 3)).astype(np.float32) for _ in range(2))
    sign = InstaSign(InstaThreshold(alpha_initializer=tf.keras.initializers.Constant(0.2)))
    variable = tf.Variable(x)
    with tf.GradientTape() as tape:
        y = sign(variable)
    u = x - 0.2 * (x**3).mean((1, 2), keepdims=True)
    np.testing.assert_array_equal(y, np.where(u >= 0, 1, -1))
    gs = upstream * np.where(np.abs(u) <= 1, 2 - 2 * np.abs(u), 0)
    expected = gs - 3 * 0.2 * x**2 / 20 * gs.sum((1, 2), keepdims=True)
    result = tape.gradient(y, variable, tf.constant(upstream))
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_sign_of_zero_is_one():
    assert (InstaSign()(tf.zeros((1, 2, 2, 3))).numpy() == 1).all()


@pytest.mark.quick(5)
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda q: lq.layers.QuantConv2D(4, 3, input_quantizer=q), (6, 6, 3)),
        (lambda q: lq.layers.QuantDepthwiseConv2D(3, input_quantizer=q), (6, 6, 3)),
        (lambda q: lq.layers.QuantSeparableConv2D(4, 3, input_quantizer=q), (6, 6, 3)),
        (lambda q: lq.layers.QuantConv2DTranspose(4, 3, input_quantizer=q), (6, 6, 3)),
        (lambda q: lq.layers.QuantConv1D(4, 3, input_quantizer=q), (6, 3)),
        (lambda q: lq.layers.QuantDense(4, input_quantizer=q), (6,)),
    ],
)
@pytest.mark.parametrize("quantizer", ["insta_sign", "InstaSign", InstaSign])
def test_works_in_larq_layers(make, shape, quantizer, rng):
    layer = make(quantizer if isinstance(quantizer, str) else quantizer())
    model = tf.keras.Sequential([tf.keras.Input(shape), layer])
    assert isinstance(layer.input_quantizer, InstaSign)
    assert layer.input_quantizer.precision == 1
    assert any("alpha" in weight.name for weight in model.trainable_weights)
    model.compile("sgd", "mse", run_eagerly=True)
    x = rng.normal(size=(4, *shape)).astype(np.float32)
    model.fit(x, np.zeros((4, *model.output_shape[1:])), verbose=0)


def test_other_thresholds_can_be_given(rng):
    x = rng.normal(size=(2, 4, 4, 3)).astype(np.float32)
    sign = InstaSign(StaticThreshold(beta_initializer="ones"))
    np.testing.assert_array_equal(sign(x), np.where(x >= 1, 1, -1))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning")
def test_a_frozen_quantizer_keeps_its_weights(suffix, rng, tmp_path):
    inputs = tf.keras.Input((6, 6, 4))
    model = tf.keras.Model(inputs, convolution("insta_sign")(inputs))
    inner = model.layers[-1].input_quantizer
    inner.threshold.alpha.assign(rng.normal(size=4))
    inner.trainable = False
    assert len(model.weights) == 4
    assert len(model.trainable_weights) == 2
    model.save(tmp_path / f"model{suffix}")
    loaded = tf.keras.models.load_model(tmp_path / f"model{suffix}")
    x = rng.normal(size=(3, 6, 6, 4)).astype(np.float32)
    np.testing.assert_array_equal(loaded(x), model(x))


def test_one_instance_in_two_layers_shares_its_weights(rng):
    sign = InstaSign()
    x = rng.normal(size=(1, 6, 6, 4)).astype(np.float32)
    first, second = convolution(sign), convolution(sign)
    first(x), second(x)
    assert first.input_quantizer.threshold.alpha is second.input_quantizer.threshold.alpha


def test_flip_ratio_metric(rng):
    inputs = tf.keras.Input(batch_shape=(2, 6, 6, 4))
    model = tf.keras.Model(inputs, convolution(InstaSign(metrics=["flip_ratio"]))(inputs))
    model.compile("sgd", "mse")
    x = rng.normal(size=(2, 6, 6, 4)).astype(np.float32)
    history = model.fit(x, np.zeros((2, 6, 6, 5)), verbose=0).history
    assert any("flip_ratio" in name for name in history)


def test_kernel_metrics_of_a_scope_are_not_disturbed(rng):
    with lq.context.metrics_scope(["flip_ratio"]):
        layer = convolution("insta_sign")
    model = tf.keras.Sequential([tf.keras.Input((6, 6, 4)), layer])
    model.compile("sgd", "mse")
    x = rng.normal(size=(2, 6, 6, 4)).astype(np.float32)
    history = model.fit(x, np.zeros((2, 6, 6, 5)), verbose=0).history
    assert any("flip_ratio" in name for name in history)
