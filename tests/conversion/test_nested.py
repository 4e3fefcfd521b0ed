"""Networks as layers of networks, and layers that are called more than once."""

from collections import Counter
from functools import partial

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from conftest import randomize
from networks import L, assert_equal, checked, classifier, pictures, q, side_by_side

from larq_insta import InstaThreshold, RPReLU, conversion
from larq_insta.conversion import folding
from larq_insta.rewriting import flattening
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.preprocessing import Preprocessing


def base(name=None, size=6, channels=8):
    """A network to be used as a layer; all have the same names inside."""
    inputs = tf.keras.Input((size, size, channels))
    x = q(channels, input_quantizer="approx_sign", name="conv")(
        InstaThreshold(name="threshold")(inputs)
    )
    x = L.Add(name="add")([inputs, L.BatchNormalization(name="norm")(x)])
    return tf.keras.Model(inputs, RPReLU(name="prelu")(x), name=name)


def twice(x):
    shared = base()
    return L.Add()([shared(x), shared(L.ReLU()(x))])


def in_a_row(x):
    shared = base()
    return shared(shared(x))


def deep(x):
    inputs = tf.keras.Input((6, 6, 8))
    return tf.keras.Model(inputs, base()(base("other")(inputs)))(x)


def two_ends(x):
    first, second = tf.keras.Input((6, 6, 8)), tf.keras.Input((6, 6, 8))
    outputs = [L.Add()([first, q()(second)]), RPReLU()(second)]
    return L.Concatenate()(tf.keras.Model([first, second], outputs)([x, L.ReLU()(x)]))


def named_ends(x):
    inputs = {name: tf.keras.Input((6, 6, 8), name=name) for name in ("b", "a")}
    outputs = {"z": q()(inputs["b"]), "y": RPReLU()(inputs["a"])}
    made = tf.keras.Model(inputs, outputs)({"b": x, "a": L.ReLU()(x)})
    return L.Add()([made["z"], made["y"] * 2.0])


class Own(tf.keras.Model):
    """With code of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = q()

    def call(self, x):
        return self.conv(x) + x

    def get_config(self):
        return {}


def for_inference(x):
    return base()(x, training=False)


NETWORKS = {
    "once": (base, 1),
    "twice": (lambda: twice, 2),
    "in a row": (lambda: in_a_row, 2),
    "deep, the same names": (lambda: deep, 2),
    "sequential": (lambda: tf.keras.Sequential([base(), L.ReLU()]), 1),
    "not yet built": (lambda: tf.keras.Sequential([q(), L.BatchNormalization()]), 1),
    "two ends": (lambda: two_ends, 1),
    "named ends": (lambda: named_ends, 1),
    "for inference": (lambda: for_inference, 1),
    "any size": (lambda: base(size=None), 1),
    "of its own code": (Own, 1),
}


@pytest.mark.parametrize("name", ["twice", "sequential"])
def test_networks_as_layers_are_converted(name):
    network, convolutions = NETWORKS[name]
    assert_equal(checked(classifier(network())), convolutions)


@pytest.mark.slow
@pytest.mark.parametrize("fold", [True, False])
def test_and_all_at_once(fold):
    networks, convolutions = zip(*NETWORKS.values(), strict=True)
    model = classifier(side_by_side(*(network() for network in networks)))
    assert_equal(checked(model, fold=fold), sum(convolutions))


def test_the_usual_transfer_learning_is_converted():
    model = tf.keras.Sequential([base(), L.GlobalAveragePooling2D(), L.Dense(3, "softmax")])
    randomize(model, np.random.default_rng(0))
    assert_equal(checked(model, "tflite"), 1)


@pytest.mark.slow
def test_folds_reach_into_networks_inside():
    inside = classifier(tf.keras.Sequential([base("a"), base("b")]))
    outside = classifier(lambda x: base("d")(base("c")(x)))
    folded = [folding.fold(model) for model in (inside, outside)]
    shifts = [
        [layer.zeta.numpy() for layer in model.layers if isinstance(layer, RPReLU)]
        for model in folded
    ]
    np.testing.assert_array_equal(*shifts)
    assert not np.any(shifts)


def test_a_network_in_training_inside_another_stays_as_it_is():
    inner = tf.keras.Sequential([L.BatchNormalization(), q()])
    model = classifier(lambda x: inner(x, training=True))
    images = pictures(model)
    np.testing.assert_allclose(folding.fold(model)(images), model(images), atol=1e-6)
    assert Counter(type(c.layer) for c in flattening.calls(model))[tf.keras.Sequential] == 1


CALLS = {
    "again": (lambda q, x: q(L.BatchNormalization()(q(x))), 2),
    "on the same map": (lambda q, x: L.Add()([q(x), q(x)]), 1),
}


@pytest.mark.quick(2)
@pytest.mark.parametrize(("network", "convolutions"), CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("runtime", ["lce", "tflite"])
def test_calls_count_not_layers(network, convolutions, runtime):
    assert_equal(checked(classifier(partial(network, q())), runtime), convolutions)


def test_binary_layers_behind_pooled_signs_are_counted():
    sign = lq.quantizers.SteSign()
    report = checked(classifier(lambda x: q(input_quantizer=None)(L.MaxPooling2D()(sign(x)))))
    assert "0 of 1 did" in report.problems[0]
    assert not any(block.differs for block in report.blocks)


def test_an_infinite_weight_is_found_inside_too(tmp_path):
    model = classifier(base(channels=3), shape=(6, 6, 3))
    model.layers[1].get_layer("norm").moving_mean.assign(np.full(3, np.inf))
    card = Card("x", {}, "digits", ("a", "b", "c"), Preprocessing(6, 3))
    with pytest.raises(InputError, match="must be finite; norm/moving_mean:0 of .* has inf"):
        conversion.convert(model, tmp_path / "x.tflite", card, pictures(model), np.zeros(8, int))
