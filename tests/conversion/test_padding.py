"""Zeros around binary maps, which Larq Compute Engine counts wrong where these are small."""

import numpy as np
import pytest
import tensorflow as tf
from networks import L, assert_equal, checked, classifier, q, side_by_side

from larq_insta.conversion import lowering
from larq_insta.conversion.engine import Interpreter
from larq_insta_runtime.errors import InputError

SMALL = {
    "2 x 2": ((2, 2), {}),
    "1 x 5": ((1, 5), {}),
    "large filter": ((4, 6), {"size": 5}),
    "dilated": ((4, 9), {"dilation_rate": 2}),
    "strided": ((2, 8), {"strides": 2}),
    "drop-in": ((2, 2), {"input_quantizer": "insta_sign"}),
}


@pytest.mark.parametrize(("size", "settings"), SMALL.values(), ids=SMALL)
def test_zeros_around_maps_smaller_than_the_filter_are_refused(size, settings):
    model = classifier(q(pad_values=0.0, **settings), (*size, 8))
    message = rf"has {size[0]} x {size[1]} pixels for a filter of .*--runtime tflite.*pad_values=1"
    with pytest.raises(InputError, match=message):
        lowering.lower(model)


def test_what_runs_on_any_runtime_is_right_with_them():
    network = side_by_side(q(pad_values=0.0), q(size=5, pad_values=0.0))
    assert_equal(checked(classifier(network, (2, 2, 8)), "tflite"), 2)


def test_they_are_refused_in_networks_inside_too():
    inner = tf.keras.Sequential([L.MaxPooling2D(), q(pad_values=0.0)])
    with pytest.raises(InputError, match="has 2 x 2 pixels"):
        lowering.lower(classifier(inner, (4, 4, 8)))


LARGE = {
    "3 x 3": ((3, 3), {}),
    "5 x 7": ((5, 7), {"size": 5}),
    "dilated": ((5, 5), {"dilation_rate": 2}),
    "1 x 1 filter": ((1, 1), {"size": 1}),
    "flat filter": ((1, 5), {"size": (1, 5)}),
    "ones": ((2, 2), {"pad_values": 1.0}),
    "nothing": ((3, 3), {"padding": "valid"}),
}


def test_others_are_computed_exactly():
    def part(size, settings):
        layer = q(**{"pad_values": 0.0, **settings})
        return lambda x: layer(x[:, : size[0], : size[1]])

    model = classifier(side_by_side(*(part(*case) for case in LARGE.values())), (8, 8, 8))
    assert_equal(checked(model), len(LARGE))


@pytest.mark.slow
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_the_engine_errs_nowhere_else(size, stride):
    """Of the smallest maps that are let pass, and higher and wider ones of all remainders."""
    inputs, outputs = tf.keras.Input((8, 8, 8)), []
    for height in range(size, size + 3):
        for width in range(size, size + 3):
            layer = q(size=size, strides=stride, pad_values=0.0)
            outputs.append(L.Flatten()(layer(inputs[:, :height, :width])))
    model = tf.keras.Model(inputs, L.Concatenate()(outputs))
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 8)).astype(np.float32)
    answers = Interpreter(lowering.lower(model)).predict(images)
    np.testing.assert_allclose(answers, model(images), atol=1e-4)
