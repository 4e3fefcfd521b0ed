"""Every public layer: the Keras contract, oracles of forward and backward passes."""

import inspect

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from conftest import randomize
from hypothesis import given
from hypothesis import strategies as st

from larq_insta import layers
from larq_insta.layers import (
    InstaPReLU,
    InstaThreshold,
    RPReLU,
    StaticThreshold,
    activations,
    quantizers,
    thresholds,
    turning,
)
from larq_insta.layers.quantizers import InstaSign, LeanApproxSign

PUBLIC = {
    name: kind
    for module in (activations, thresholds, quantizers, turning)
    for name, kind in vars(module).items()
    if inspect.isclass(kind)
    and issubclass(kind, tf.keras.layers.Layer)
    and kind.__module__ == module.__name__
}

VARIANTS = {
    "HalfTurn": [{}],
    "StaticThreshold": [{}],
    "InstaThreshold": [
        {},
        {"statistic": "mean"},
        {"statistic": "variance", "stop_gradient": True},
        {"statistic": "skewness", "normalization": "statistic"},
        {"normalization": "batch", "alpha_initializer": "ones", "alpha_regularizer": "l2"},
        {"reduction_ratio": 2, "normalization": "statistic", "branch_scaling": "fan_in"},
        {"normalization": "statistic", "statistic_bound": 0.1},
        {"reduction_ratio": 16, "branch_activation": "tanh", "branch_combination": "replace"},
    ],
    "RPReLU": [{}, {"slope_initializer": "ones"}],
    "InstaPReLU": [
        {},
        {"instance_aware": ("gamma", "slope", "zeta"), "statistic": "mean"},
        {"normalization": "statistic", "stop_gradient": True},
        {"normalization": "statistic", "statistic_bound": 0.1},
        {"instance_aware": ()},
    ],
    "InstaSign": [{}, {"threshold": InstaThreshold("mean", reduction_ratio=2)}],
    "LeanApproxSign": [{}],
}

CASES = [
    pytest.param(PUBLIC[name], arguments, id=f"{name}-{i}")
    for name, variants in VARIANTS.items()
    for i, arguments in enumerate(variants)
]
every_layer = pytest.mark.parametrize(("kind", "arguments"), CASES)


def images(rng, *shape):
    return rng.normal(size=shape or (3, 4, 5, 6)).astype(np.float32)


def one_layer_model(kind, arguments, rng):
    layer = kind.from_config(kind(**arguments).get_config())
    inputs = tf.keras.Input((4, 5, 6))
    model = tf.keras.Model(inputs, layer(inputs))
    randomize(model, rng)
    return model


def test_the_suite_knows_every_public_layer():
    assert set(VARIANTS) == set(PUBLIC)
    assert set(PUBLIC) == {*layers.__all__, "InstaSign", "LeanApproxSign"}


@every_layer
def test_configuration_round_trip(kind, arguments):
    layer = kind(name="some", trainable=False, dtype="float64", **arguments)
    copy = kind.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert (copy.name, copy.trainable, copy.dtype) == ("some", False, "float64")
    named = set(inspect.signature(kind).parameters) - {"kwargs"}
    assert named <= set(layer.get_config())


@every_layer
def test_shape_dtype_and_weights(kind, arguments, rng):
    layer = kind(**arguments)
    y = layer(images(rng))
    assert y.shape == layer.compute_output_shape((3, 4, 5, 6)) == (3, 4, 5, 6)
    assert y.dtype == tf.float32
    names = [weight.name for weight in layer.weights]
    assert len(set(names)) == len(names)


@pytest.mark.quick(10)
@every_layer
@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning")
def test_saving_round_trip(kind, arguments, suffix, rng, tmp_path):
    model = one_layer_model(kind, arguments, rng)
    path = tmp_path / f"model{suffix}"
    model.save(path)
    safe = {"safe_mode": True} if suffix == ".keras" else {}
    loaded = tf.keras.models.load_model(path, **safe)
    x = images(rng)
    np.testing.assert_array_equal(loaded(x), model(x))
    assert type(loaded.layers[-1]).__name__ == kind.__name__


@every_layer
def test_cloning_and_freezing_keep_weights(kind, arguments, rng, tmp_path):
    model = one_layer_model(kind, arguments, rng)
    clone = tf.keras.models.clone_model(model)
    clone.layers[-1].trainable = False
    assert not clone.trainable_weights
    assert [w.shape for w in clone.weights] == [w.shape for w in model.weights]
    model.save_weights(tmp_path / "weights.h5")
    clone.load_weights(tmp_path / "weights.h5")
    x = images(rng)
    np.testing.assert_array_equal(clone(x), model(x))


@every_layer
def test_every_trainable_weight_gets_a_gradient(kind, arguments, rng):
    model = one_layer_model(kind, arguments, rng)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(images(rng)) * images(rng))
    for weight, gradient in zip(
        model.trainable_weights, tape.gradient(loss, model.trainable_weights), strict=True
    ):
        assert gradient is not None, weight.name
        assert np.abs(gradient).max() > 0, weight.name


@pytest.mark.quick(5)
@every_layer
@given(count=st.integers(1, 5), seed=st.integers(0, 99))
def test_an_instance_does_not_depend_on_its_batch(kind, arguments, count, seed):
    rng = np.random.default_rng(seed)
    model = one_layer_model(kind, arguments, rng)
    x = images(rng, count, 4, 5, 6)
    alone = np.concatenate([model(x[i : i + 1]) for i in range(count)])
    # Rounding may differ with the batch size in dense branches; signs may flip only there.
    tolerance = 1e-5 if arguments.get("reduction_ratio") else 0
    together = model(x).numpy()
    if kind is InstaSign and arguments:
        assert np.mean(together != alone) < 0.01
    else:
        np.testing.assert_allclose(together, alone, rtol=0, atol=tolerance)


@every_layer
def test_mixed_precision_does_not_overflow(kind, arguments, rng):
    policy = tf.keras.mixed_precision.Policy("mixed_float16")
    if "threshold" in arguments:
        arguments = {"threshold": InstaThreshold("mean", reduction_ratio=2, dtype=policy)}
    layer = kind(dtype=policy, **arguments)
    x = tf.constant(images(rng) * 1000)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    assert y.dtype == tf.float16
    assert np.isfinite(y).all()
    assert np.isfinite(tape.gradient(y, x)).all()
    assert all(weight.dtype == tf.float32 for weight in layer.weights)


# A stopped gradient is not that of its function, on purpose, nor is a sign's.
SMOOTH = [
    case
    for case in CASES
    if not issubclass(case.values[0], lq.quantizers.Quantizer)
    and not case.values[1].get("stop_gradient")
]


@pytest.mark.quick(6)
@pytest.mark.parametrize(("kind", "arguments"), SMOOTH)
@pytest.mark.parametrize("training", [False, True])
def test_input_gradient_equals_the_numerical_one(kind, arguments, training, rng):
    layer = kind(dtype="float64", **arguments)
    x = tf.constant(rng.normal(size=(3, 2, 3, 4)))
    layer.build(x.shape)
    randomize(layer, rng)
    upstream = rng.normal(size=x.shape)
    with_training = "normalization" in arguments and training
    call = (lambda x: layer(x, training=True)) if with_training else layer
    analytic, numeric = tf.test.compute_gradient(lambda x: call(x) * upstream, [x], delta=1e-6)
    np.testing.assert_allclose(analytic[0], numeric[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", [kind for kind in PUBLIC.values() if kind is not LeanApproxSign])
def test_only_channels_last_data_with_known_channels(kind):
    with pytest.raises(ValueError, match=r"needs inputs of shape .* got \(None, 4, 4, None\)"):
        kind().build((None, 4, 4, None))
    with pytest.raises(ValueError, match="needs inputs of shape"):
        kind().build((None,))
    tf.keras.backend.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match="needs channels-last data; got"):
            kind().build((None, 4, 4, 6))
    finally:
        tf.keras.backend.set_image_data_format("channels_last")


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (InstaThreshold, {"statistic": "median"}, "`statistic` must be one of"),
        (InstaThreshold, {"normalization": "layer"}, "`normalization` must be one of"),
        (InstaThreshold, {"statistic_bound": -1}, "`statistic_bound` must be None or pos"),
        (InstaThreshold, {"branch_combination": "mul"}, "`branch_combination` must be one of"),
        (InstaThreshold, {"reduction_ratio": 0}, "`reduction_ratio` must be None or at least 1"),
        (InstaPReLU, {"instance_aware": ("beta",)}, "`instance_aware` must be one of"),
        (InstaPReLU, {"normalization": "batch"}, "`normalization` must be one of"),
    ],
)
def test_unknown_arguments_are_refused(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


@pytest.mark.parametrize(
    ("instance_aware", "static"),
    [(InstaThreshold, StaticThreshold), (InstaPReLU, RPReLU)],
)
def test_layers_with_alpha_zero_equal_their_static_baselines(instance_aware, static, rng):
    x = images(rng)
    insta, baseline = instance_aware(), static()
    insta.build(x.shape)
    baseline.build(x.shape)
    randomize(baseline, rng)
    for weight in baseline.weights:
        getattr(insta, weight.name.split(":")[0]).assign(weight)
    np.testing.assert_array_equal(insta(x), baseline(x))


SECTIONS = ["# Arguments", "# Input shape", "# Output shape", "# Raises", "# References"]


@pytest.mark.parametrize("kind", PUBLIC.values(), ids=PUBLIC)
def test_docstrings_say_what_users_need(kind):
    text = inspect.getdoc(kind)
    places = [text.index(section) for section in SECTIONS]
    assert places == sorted(places)
    assert r"\\[" in text, "the forward equation"
    assert "radient" in text, "the backward equation"
    for name in set(inspect.signature(kind).parameters) - {"kwargs"}:
        assert f"{name}:" in text, name
