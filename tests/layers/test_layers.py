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
    HalfTurn,
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
        {"reduction_ratio": 2, "normalization": "statistic"},
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


def test_mixed_precision_thresholds_are_those_of_float32(rng):
    policy = tf.keras.mixed_precision.Policy("mixed_float16")
    x = (images(rng) * 60).astype(np.float16)  # E[X^3] is beyond float16's 65504
    half, full = (InstaThreshold(alpha_initializer="ones", dtype=d) for d in (policy, "float32"))
    expected = np.clip(full(x.astype(np.float32)), -65504, 65504)
    np.testing.assert_allclose(half(x), expected, rtol=1e-3)


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


def test_only_maps_are_turned():
    with pytest.raises(ValueError, match=r"\(batch, height, width, channels\); got \(None, 6\)"):
        HalfTurn().build((None, 6))


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


def test_plus_branch_equals_numpy_and_starts_as_insta_threshold(rng):
    x = rng.normal(size=(3, 4, 5, 6))
    plain = InstaThreshold(alpha_initializer="ones", dtype="float64")
    plus = InstaThreshold(
        alpha_initializer="ones", reduction_ratio=2, branch_activation="tanh", dtype="float64"
    )
    np.testing.assert_array_equal(plus(x), plain(x))
    reduce, bias, expand = (rng.normal(size=s) for s in ((6, 3), (3,), (3, 6)))
    plus.branch_reduce.set_weights([reduce, bias])
    plus.branch_expand.set_weights([expand])
    cube = (x**3).mean((1, 2))
    branch = np.tanh(np.maximum(cube @ reduce + bias, 0) @ expand)
    np.testing.assert_allclose(plus(x), x - (cube + branch)[:, None, None])
    plus.branch_combination, plus.has_alpha = "replace", False
    np.testing.assert_allclose(plus(x), x - branch[:, None, None])


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


def test_shapes_of_a_returned_statistic(rng):
    layer = InstaThreshold(return_statistic=True)
    outputs = layer(images(rng))
    assert [x.shape for x in outputs] == layer.compute_output_shape((3, 4, 5, 6))
