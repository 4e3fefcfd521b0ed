"""Folded models compute what unfolded ones do, in fewer passes over large maps."""

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from conftest import randomize
from networks import L, assert_equal, checked, classifier, q

from larq_insta import (
    InstaPReLU,
    InstaSign,
    InstaThreshold,
    RPReLU,
    StaticThreshold,
    instance_aware,
    models,
)
from larq_insta.conversion import folding, lowering
from larq_insta.layers import inference
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.graph import Graph

pytestmark = pytest.mark.usefixtures("short_stages")


@pytest.fixture(autouse=True)
def _few_channels_are_many(monkeypatch):
    monkeypatch.setattr(inference, "_MANY_CHANNELS", 8)


SMALL = {"input_shape": (16, 16, 3), "stem": "small", "num_classes": 3}
KINDS = {
    "static": ("ReActNet18", {}),
    "default": ("InstaResNet18", {}),
    "everywhere": ("InstaResNet18", {"insta_blocks": "all"}),
    "own statistics": ("InstaResNet18", {"insta_blocks": "all", "reuse_statistics": False}),
    "plus": ("InstaResNet18", {"insta_blocks": "all", "plus": True}),
    "batch": ("InstaResNet18", {"threshold": {"normalization": "batch"}, "plus": True}),
    "raw": ("InstaResNet18", {"threshold": {"normalization": None}, "prelu": {}}),
    "skewness": (
        "InstaResNet18",
        {"threshold": {"statistic": "skewness", "normalization": "batch"}},
    ),
    "mean": ("InstaResNet18", {"threshold": {"statistic": "mean", "normalization": "batch"}}),
    "variance": ("InstaResNet18", {"threshold": {"statistic": "variance"}}),
    "tanh branch": (
        "InstaResNet18",
        {
            "threshold": {
                "normalization": "batch",
                "reduction_ratio": 4,
                "branch_scaling": "fan_in",
                "branch_activation": "tanh",
                "branch_combination": "replace",
            }
        },
    ),
    "all parameters": (
        "InstaResNet18",
        {
            "insta_blocks": "all",
            "reuse_statistics": False,
            "prelu": {"instance_aware": ["gamma", "slope", "zeta"]},
        },
    ),
    "bounded": (
        "InstaResNet18",
        {"insta_blocks": "all", "plus": True, "threshold": {"statistic_bound": 0.05}},
    ),
    "bounded batch": (
        "InstaResNet18",
        {"threshold": {"normalization": "batch", "statistic_bound": 0.05}},
    ),
    "bounded own": (
        "InstaResNet18",
        {"reuse_statistics": False, "prelu": {"statistic_bound": 0.05}},
    ),
    "slope alone": (
        "InstaResNet18",
        {
            "insta_blocks": "all",
            "reuse_statistics": False,
            "prelu": {"instance_aware": ["slope"]},
        },
    ),
    "mobile": ("InstaMobileNetV1", {"filters": (8, 8, 16), "insta_blocks": "all"}),
    "mobile static": ("ReActNetA", {"filters": (8, 8, 16)}),
    "without top": ("InstaResNet18", {"include_top": False}),
}


def build(name, arguments, rng):
    model = models.get(name)(**{**SMALL, "filters": (8, 16), **arguments})
    randomize(model, rng, 0.02)
    return model


def features(model, images):
    """Inputs of all signs, and the output: what folding must not change."""
    convs = [layer for layer in model.layers if isinstance(layer, lq.layers.QuantConv2D)]
    ends = [*(layer.input for layer in convs), model.output]
    return [value.numpy() for value in tf.keras.Model(model.inputs, ends)(images, training=False)]


@pytest.mark.quick(4)
@pytest.mark.parametrize("kind", KINDS)
def test_a_folded_model_computes_the_same(kind, rng):
    model = build(*KINDS[kind], rng)
    before = [weight.copy() for weight in model.get_weights()]
    folded = folding.fold(model)
    scaled = kind in ("batch", "mean", "bounded batch")  # a sign's input is multiplied, then
    for count in (1, 3):  # one picture alone is computed by other operations
        images = rng.normal(size=(count, 16, 16, 3)).astype(np.float32)
        for plain, new in zip(features(model, images), features(folded, images), strict=True):
            if not scaled or plain.ndim == 2:
                np.testing.assert_allclose(new, plain, rtol=0, atol=2e-5 * np.abs(plain).max())
            flipped = (plain >= 0) != (new >= 0)
            if flipped.any():  # by rounding: what follows differs for that reason
                assert flipped.sum() < 3
                assert np.abs(plain[flipped]).max() < 2e-5 * np.abs(plain).max()
                break
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.quick(1)
@pytest.mark.parametrize("kind", ["everywhere", "batch", "all parameters", "mobile"])
def test_every_fold_alone_computes_the_same(kind, rng):
    model = build(*KINDS[kind], rng)
    images = rng.normal(size=(2, 16, 16, 3)).astype(np.float32)
    expected = model(images, training=False).numpy()
    for rewrite in folding.FOLDS:
        copy = folding.for_inference(model)
        for layer in copy.layers:
            rewrite(layer)
        np.testing.assert_allclose(copy(images, training=False), expected, rtol=0, atol=2e-6)


PASSES = ("ADD", "SUB", "MUL", "SQUARED_DIFFERENCE", "PRELU")


def passes(model):
    """How many operators write a whole map element by element."""
    made = [op.outputs[0] for op in Graph(lowering.lower(model)).operators if op.name in PASSES]
    return sum(len(tensor.shape) == 4 and tensor.shape[1] > 1 for tensor in made)


@pytest.mark.slow
def test_folding_leaves_the_fewest_passes_over_maps(rng):
    static, insta = build(*KINDS["static"], rng), build(*KINDS["everywhere"], rng)
    # In each of four blocks a threshold, the shortcut and the PReLU; and its two shifts.
    assert passes(folding.fold(static)) == 4 * 3
    assert passes(static) == 4 * 5
    # And a square, and a shift by the instance; and the cube. The PReLU of the block that
    # widens has a statistic of its own. Three statistics are of shifted maps.
    assert passes(folding.fold(insta)) == 4 * 5 + 1 + 3
    assert passes(insta) == 4 * 7 + 2


@pytest.mark.slow
def test_a_statistic_takes_one_product_and_one_depthwise_convolution(rng):
    model = build("InstaResNet18", {"insta_blocks": "all"}, rng)
    plain, folded = (Graph(lowering.lower(m)) for m in (model, folding.fold(model)))
    assert plain.counts["MEAN"] == folded.counts["DEPTHWISE_CONV_2D"] == 5
    assert plain.counts["DEPTHWISE_CONV_2D"] == 0
    assert folded.traffic < 0.87 * plain.traffic


def of_densenet(x):
    for _ in range(2):
        y = RPReLU()(L.BatchNormalization()(q()(StaticThreshold()(x))))
        x = L.Concatenate()([x, y])
    return StaticThreshold()(x)


def of_densenet_normalized(x):
    for _ in range(2):
        x = L.Concatenate()([x, RPReLU()(L.BatchNormalization()(q()(L.BatchNormalization()(x))))])
    return L.BatchNormalization()(x)


def of_quicknet(x):
    for _ in range(2):
        y = q(activation="relu")(StaticThreshold()(x))
        x = RPReLU()(L.BatchNormalization()(y)) + x
    return x


def of_realtobinary(x):
    for _ in range(2):
        y = q(pad_values=0.0)(L.BatchNormalization()(x))
        scales = L.Dense(8, "sigmoid")(L.GlobalAveragePooling2D(keepdims=True)(x))
        x = L.Add()([L.PReLU(shared_axes=[1, 2])(L.Multiply()([y, scales])), x])
    return x


def of_xnornet(x):
    for _ in range(2):
        x = q(kernel_quantizer="magnitude_aware_sign")(L.BatchNormalization()(x))
        x = L.MaxPooling2D(3, 1, "same")(x)
    return x


OTHERS = {
    # Behind folds a threshold, a slope and a concatenation; and the threshold at the end.
    of_densenet: ({"SUB": 3, "ADD": 2, "PRELU": 2}, {"SUB": 0, "ADD": 3, "PRELU": 2}),
    # One constant in front of each sign, and the normalization at the end.
    of_densenet_normalized: ({"MUL": 3, "ADD": 5, "PRELU": 2}, {"MUL": 1, "ADD": 3, "PRELU": 2}),
    # A threshold, a slope and the shortcut.
    of_quicknet: ({"SUB": 2, "ADD": 4, "PRELU": 2}, {"SUB": 0, "ADD": 4, "PRELU": 2}),
    # A constant in front of the sign, the scales and the shortcut.
    of_realtobinary: ({"MUL": 4, "ADD": 4, "PRELU": 2}, {"MUL": 2, "ADD": 4, "PRELU": 2}),
    of_xnornet: ({"MUL": 2, "ADD": 2}, {"MUL": 0, "ADD": 2}),
}


def keep_signs(model):
    """Gives batch normalizations scales that turn none."""
    for layer in model.layers:
        if isinstance(layer, L.BatchNormalization) and layer.scale:
            layer.gamma.assign(np.abs(layer.gamma) + 0.1)


@pytest.mark.quick(2)
@pytest.mark.parametrize(("network", "expected"), OTHERS.items())
def test_other_topologies_are_folded(network, expected):
    model = classifier(network, (16, 16, 8))
    keep_signs(model)
    for either, counts in zip((model, folding.fold(model)), expected, strict=True):
        found = Graph(lowering.lower(either)).counts
        assert {name: found[name] for name in counts} == counts
    assert_equal(checked(model), 2)


AWARE = {
    # In each block a square, a threshold, a PReLU and its shift by the instance; a shift in front
    # of the second statistic; a square for the second PReLU, which reads fewer channels than its
    # block's threshold; and the threshold at the end.
    of_densenet: (15, 11),
    # In each block the shortcut, too.
    of_quicknet: (14, 11),
}
"""Passes over whole maps, before and behind folds."""


@pytest.mark.slow
@pytest.mark.parametrize(("network", "expected"), AWARE.items())
def test_other_topologies_made_instance_aware_are_folded(network, expected, rng):
    model = instance_aware(classifier(network, (16, 16, 8)), blocks="all")
    randomize(model, rng, 0.1)
    keep_signs(model)
    assert (passes(model), passes(folding.fold(model))) == expected
    assert_equal(checked(model), 2)


def test_what_turns_signs_is_not_folded(rng):
    norm = L.BatchNormalization()
    model = classifier(lambda x: q()(norm(x)))
    norm.gamma.assign(np.where(np.arange(8) == 3, -1, 1))
    folded = folding.fold(model).get_layer(norm.name)
    np.testing.assert_array_equal(folded.gamma, norm.gamma)
    assert_equal(checked(model), 1)


def test_few_channels_are_multiplied_and_averaged(rng, monkeypatch):
    monkeypatch.setattr(inference, "_MANY_CHANNELS", 16)
    model = build("InstaResNet18", {"insta_blocks": "all"}, rng)
    counts = Graph(lowering.lower(folding.fold(model))).counts
    # Of the first stage, and the threshold that reads its map: three statistics of five.
    assert counts["DEPTHWISE_CONV_2D"] == 2
    assert counts["MEAN"] == 3


@pytest.mark.slow
def test_thresholds_inside_quantizers_are_folded(rng):
    inputs = tf.keras.Input((8, 8, 4))
    x = RPReLU()(tf.keras.layers.BatchNormalization()(inputs))
    for _ in range(2):
        quantizer = InstaSign(InstaThreshold(normalization="batch"))
        x = lq.layers.QuantConv2D(
            4, 3, padding="same", pad_values=1.0, input_quantizer=quantizer,
            kernel_quantizer="ste_sign", kernel_constraint="weight_clip",
        )(x)  # fmt: skip
        x = RPReLU()(tf.keras.layers.BatchNormalization()(x))
    outputs = tf.keras.layers.Dense(3)(tf.keras.layers.GlobalAveragePooling2D()(x))
    model = tf.keras.Model(inputs, outputs)
    randomize(model, rng, 0.1)
    images = rng.normal(size=(2, 8, 8, 4)).astype(np.float32)
    folded = folding.fold(model)
    np.testing.assert_allclose(folded(images), model(images), atol=1e-4)
    counts = [Graph(lowering.lower(m)).counts for m in (model, folded)]
    assert counts[0]["LceBconv2d"] == counts[1]["LceBconv2d"] == 2
    # One threshold and no shift of a PReLU is left before each sign.
    assert sum(counts[1][name] for name in ("ADD", "SUB")) < sum(
        counts[0][name] for name in ("ADD", "SUB")
    )


def _shifted(layer):
    """An RPReLU whose second shift meets `layer`, which ends in a static threshold."""
    inputs = tf.keras.Input((8, 8, 4))
    x = RPReLU(name="prelu")(tf.keras.layers.BatchNormalization()(inputs))
    return tf.keras.Model(inputs, layer(x))


def _joined(x):
    return StaticThreshold()(tf.keras.layers.Concatenate()([tf.keras.layers.ReLU()(x), x]))


def _added(x):
    return StaticThreshold()(2.0 + (x + tf.keras.layers.ReLU()(x)))


def _spread(x):
    return StaticThreshold()(x + tf.keras.layers.Conv2D(4, 8)(tf.keras.layers.ReLU()(x)))


def _one_to_all(x):
    return StaticThreshold()(tf.keras.layers.Conv2D(1, 1)(x) + tf.keras.layers.ReLU()(x))


def _add_twice(x):
    return StaticThreshold()(tf.keras.layers.Add()([x, x]))


def _output_too(x):
    return [x, StaticThreshold()(x)]


@pytest.mark.parametrize(
    ("layer", "folds"),
    [
        (StaticThreshold(), True),
        (InstaThreshold(), True),
        (RPReLU(), True),
        (InstaPReLU(), True),
        (tf.keras.layers.BatchNormalization(), True),
        (lambda x: StaticThreshold()(tf.keras.layers.AveragePooling2D(3, 2, "same")(x)), True),
        (lambda x: StaticThreshold()(tf.keras.layers.MaxPooling2D(3, 2, "same")(x)), True),
        (lambda x: StaticThreshold()(tf.keras.layers.Conv2D(5, 1, strides=2)(x)), True),
        (lambda x: StaticThreshold()(tf.keras.layers.Conv2D(5, 3)(x)), False),
        (lambda x: StaticThreshold()(tf.keras.layers.Conv2D(5, 1, activation="relu")(x)), False),
        (lambda x: StaticThreshold()(tf.keras.layers.Conv2D(4, 1, groups=2)(x)), False),
        (lambda x: StaticThreshold()(tf.keras.layers.ReLU()(x)), False),
        (lambda x: tf.keras.layers.Dense(3)(tf.keras.layers.GlobalMaxPooling2D()(x)), True),
        (lambda x: tf.keras.layers.Dense(3)(tf.keras.layers.Flatten()(x)), False),
        (_joined, False),
        (_added, False),
        (_spread, False),
        (_one_to_all, False),
        (_add_twice, False),
        (_output_too, False),
        (lambda x: x, False),
    ],
)
def test_a_shift_moves_only_where_it_commutes(layer, folds, rng):
    model = _shifted(layer)
    randomize(model, rng, 0.5)
    folded = folding.fold(model)
    assert (not folded.get_layer("prelu").zeta.numpy().any()) == folds
    images = rng.normal(size=(2, 8, 8, 4)).astype(np.float32)
    plain, new = (tf.nest.flatten(m(images, training=False)) for m in (model, folded))
    for a, b in zip(plain, new, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4)


def test_shared_layers_stay_as_they_are(rng):
    inputs = tf.keras.Input((8, 8, 4))
    shared, norm = RPReLU(), tf.keras.layers.BatchNormalization()
    outputs = StaticThreshold()(tf.keras.layers.Add()([shared(norm(inputs)), shared(inputs)]))
    model = tf.keras.Model(inputs, outputs)
    randomize(model, rng, 0.5)
    images = rng.normal(size=(2, 8, 8, 4)).astype(np.float32)
    np.testing.assert_array_equal(folding.fold(model)(images), model(images))


def test_what_was_adapted_stays(rng):
    normalize = L.Normalization()
    normalize.adapt(rng.normal(3, 2, size=(50, 8, 8, 4)))
    inputs = tf.keras.Input((8, 8, 4))
    model = tf.keras.Model(inputs, StaticThreshold()(normalize(inputs)))
    images = rng.normal(size=(2, 8, 8, 4)).astype(np.float32)
    np.testing.assert_allclose(folding.fold(model)(images), model(images), rtol=1e-6)


def test_names_that_keras_would_give_again_do_not_collide(rng):
    inputs = tf.keras.Input((8, 8, 4))
    outputs = tf.keras.layers.Activation("relu", name="activation")(inputs)
    model = tf.keras.Model(inputs, outputs)
    tf.keras.backend.clear_session()  # as when the model is loaded in another process
    images = rng.normal(size=(2, 8, 8, 4)).astype(np.float32)
    np.testing.assert_array_equal(folding.fold(model)(images), np.maximum(images, 0))


def test_a_model_that_cannot_be_copied_is_refused():
    class Odd(tf.keras.layers.Layer):
        def get_config(self):
            raise NotImplementedError("no settings")

    inputs = tf.keras.Input((8, 8, 4))
    with pytest.raises(InputError, match="does not .*no settings.*--no-fold"):
        folding.fold(tf.keras.Model(inputs, Odd()(inputs)))
