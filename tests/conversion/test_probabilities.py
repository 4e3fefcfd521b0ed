"""What answers with no probabilities is refused, with what to add."""

import numpy as np
import pytest
import tensorflow as tf
from networks import L, checked, classifier, pictures, q

from larq_insta import conversion
from larq_insta_runtime import running
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.preprocessing import Preprocessing


def ending(*layers):
    """A network whose answers are what these layers make of a pooled map."""
    inputs = tf.keras.Input((6, 6, 3))
    x = L.GlobalAveragePooling2D()(q()(inputs))
    for layer in layers:
        x = layer(x)
    return tf.keras.Model(inputs, x, name="model")


ENDS = {
    "logits": ([L.Dense(3)], r"behind their logits|Sequential\(\[model, .*Softmax\(\)\]\)"),
    "cut off": ([L.Dense(3, "relu", bias_initializer="ones")], r"Softmax\(\)\]\)"),
    "sigmoids": ([L.Dense(3, "sigmoid")], "in place of a sigmoid"),
    "softmax over pictures": ([L.Dense(3), L.Softmax(axis=0)], r"softmax over the classes"),
    "shares": ([L.Dense(3), L.Softmax(), L.Rescaling(0.5)], r"sums from 0.5 to 0.5"),
}


@pytest.mark.quick(2)
@pytest.mark.parametrize(("layers", "message"), ENDS.values(), ids=ENDS)
def test_answers_that_are_no_probabilities_are_refused(layers, message):
    with pytest.raises(InputError, match=f"must answer with probabilities.*{message}"):
        checked(ending(*layers))


SHAPES = {
    "one": ([L.Dense(1, "sigmoid")], r"gives \(None, 1\): for two classes give .*1 - p, p"),
    "a map": ([L.Reshape((1, 1, 8)), L.Softmax()], r"gives \(None, 1, 1, 8\): put .*Flatten\(\)"),
}


@pytest.mark.parametrize(("layers", "message"), SHAPES.values(), ids=SHAPES)
def test_answers_of_another_shape_are_refused(layers, message, tmp_path):
    model = ending(*layers)
    card = Card("x", {}, "digits", ("a", "b", "c"), Preprocessing(6, 3))
    with pytest.raises(InputError, match=message):
        conversion.convert(model, tmp_path / "x.tflite", card, pictures(model), np.zeros(8, int))


def test_nothing_is_written_of_logits_even_if_differences_are_allowed(tmp_path):
    model = ending(L.Dense(3))
    card = Card("x", {}, "digits", ("a", "b", "c"), Preprocessing(6, 3))
    arguments = (tmp_path / "x.tflite", card, pictures(model), np.zeros(8, int))
    with pytest.raises(InputError, match="must answer with probabilities"):
        conversion.convert(model, *arguments, allow_differences=True)
    assert not list(tmp_path.iterdir())


def test_what_the_refusal_says_to_do_helps():
    report = checked(tf.keras.Sequential([ending(L.Dense(3)), L.Softmax()]))
    assert report.problems == ()


def test_a_small_answer_counts_as_much_as_a_large_one():
    """Of a network that is sure of itself; its logits are compared."""
    model = classifier(q())
    dense = next(layer for layer in model.layers if isinstance(layer, L.Dense))
    dense.bias.assign([40.0, 0.0, 0.0])
    assert checked(model).problems == ()
    images = pictures(model)
    assert model(images).numpy()[:, 0].min() == 1


class Foreign:
    """A file of somebody's that gives logits."""

    card = Card("x", {}, "digits", ("a", "b"), Preprocessing(6, 3))

    def predict(self, images):
        return np.array([[38.259, -3.0]])


def test_logits_are_not_told_as_shares():
    with pytest.raises(InputError, match=r"must be probabilities.* from -3 to 38.3.*Softmax\(\)"):
        running.answer(Foreign(), np.zeros((6, 6, 3)))
