"""What a foreign model takes is said or found, never assumed."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import run
from networks import L, q

from larq_insta import conversion, runtime
from larq_insta.checkpoints import keras_files
from larq_insta.data import inputs
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.preprocessing import Preprocessing

DATA = Preprocessing(8, 3, mean=(20.0, 30.0, 40.0), std=(60.0, 60.0, 60.0))
KINDS = inputs.kinds(DATA)


def grey(rng, count):
    """Pictures a little darker and a little brighter than 80, and which they are."""
    labels = rng.integers(0, 2, count)
    noise = rng.integers(-5, 6, (count, 8, 8, 3))
    return (70 + 20 * labels[:, None, None, None] + noise).astype(np.uint8), labels


def classifier(preprocessing):
    """Knows pictures above and below 80, where they are normalized so."""
    level = preprocessing.normalize(np.full((1, 1, 1, 3), 80, np.uint8)).mean()
    step = 10 / np.mean(preprocessing.std)
    x = tf.keras.Input((8, 8, 3))
    y = L.GlobalAveragePooling2D()(x)
    y = L.Concatenate()([y, L.GlobalAveragePooling2D()(q(2)(x))])
    kernel = np.zeros((5, 2), np.float32)
    kernel[:3, 1] = 1 / step
    dense = L.Dense(2, "softmax")
    model = tf.keras.Model(x, dense(y))
    dense.set_weights([kernel, np.array([0, -3 * level / step], np.float32)])
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_model_takes_is_found_by_its_accuracy(kind, rng):
    images, labels = grey(rng, 64)
    found, how = inputs.find(classifier(KINDS[kind]), DATA, images, labels)
    assert found == KINDS[kind]
    assert how.startswith(f"It takes {kind} pictures, by its accuracy on 64: normalized ")
    assert f"{kind} 100.0%" in how


def test_scaling_inside_the_model_is_found_too(rng):
    scale = tf.keras.Sequential([L.Rescaling(1 / 255), classifier(KINDS["unit"])])
    found, _ = inputs.find(scale, DATA, *grey(rng, 64))
    assert found == KINDS["pixels"]


def constant(x):
    return x * 0.0


def of_one_class(rng):
    images, labels = grey(rng, 200)
    return images[labels == 1], labels[labels == 1]


def behind(layer):
    return tf.keras.Sequential([layer, classifier(DATA)])


AMBIGUOUS = {
    "nothing learned": (lambda: behind(L.Activation(constant)), grey),
    "normalizes itself": (lambda: behind(L.LayerNormalization(axis=(1, 2, 3))), grey),
    "few pictures": (lambda: classifier(DATA), lambda rng, _: grey(rng, 6)),
    "pictures of one class": (lambda: classifier(DATA), lambda rng, _: of_one_class(rng)),
}


@pytest.mark.parametrize(("model", "images"), AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_where_nothing_stands_out_it_must_be_said(model, images, rng):
    with pytest.raises(InputError, match=r"must be known; .*does not tell .*pixels .*--input"):
        inputs.find(model(), DATA, *images(rng, 64))


def test_kinds_that_are_the_same_are_tried_once(rng):
    data = Preprocessing(8, 3)
    _, how = inputs.find(classifier(data), data, *grey(rng, 64))
    assert "symmetric" not in how


@pytest.fixture
def foreign(tmp_path, rng):
    """A checkpoint of a model that takes numbers from 0 to 1, and a folder of pictures."""
    images, labels = grey(rng, 120)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = tmp_path / "grey" / ("dark", "light")[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_png(image).numpy())
    classifier(KINDS["unit"]).save(tmp_path / "foreign.keras")
    return tmp_path / "foreign.keras", tmp_path / "grey"


@pytest.mark.slow
@pytest.mark.parametrize("said", [[], ["--input", "unit"]])
def test_the_file_carries_what_was_found_or_said(said, foreign, tmp_path):
    checkpoint, folder = foreign
    target = tmp_path / "model.tflite"
    printed = run("convert", checkpoint, target, "--dataset", folder, *said)
    assert ("It takes unit pictures" in printed) == (not said)
    assert "accuracy 100.00%, Keras 100.00%" in printed
    read = Card.read(target).preprocessing
    assert (read.mean, read.std) == ((0.0,), (255.0,))


def test_what_has_a_card_takes_what_that_says(foreign, tmp_path):
    path, folder = tmp_path / "ours.keras", foreign[1]
    card = Card("x", {}, str(folder), ("dark", "light"), KINDS["pixels"])
    keras_files.save(classifier(KINDS["pixels"]), path, card)
    printed = run("convert", path, tmp_path / "model.tflite", "--dataset", folder)
    assert "accuracy 100.00%, Keras 100.00%" in printed
    message = run("convert", path, tmp_path / "x.tflite", "--input", "unit", code=2)
    assert "says itself what it takes; got --input unit" in message


def of_uint8():
    inputs = tf.keras.Input((8, 8, 3), dtype="uint8")
    return tf.keras.Model(inputs, classifier(KINDS["unit"])(tf.cast(inputs, "float32") / 255))


def test_a_model_of_uint8_takes_pixels(foreign, tmp_path):
    of_uint8().save(tmp_path / "foreign.keras")
    convert = "convert", tmp_path / "foreign.keras", tmp_path / "m.tflite", "--dataset", foreign[1]
    printed = run(*convert)
    assert "It takes pixels, as its input is of uint8." in printed
    assert "accuracy 100.00%, Keras 100.00%" in printed
    message = run(*convert, "--input", "unit", code=2)
    assert "whose input is of uint8 takes pixels; got 'unit': leave it out" in message


def test_pixels_are_normalized_as_the_card_says(rng, tmp_path):
    images, labels = grey(rng, 16)
    model, card = classifier(DATA), Card("x", {}, "grey", ("dark", "light"), DATA)
    keras_files.save(model, tmp_path / "x.keras", card)
    conversion.convert(model, tmp_path / "x.tflite", card, DATA.normalize(images), labels)
    for name in ("x.keras", "x.tflite"):
        known = runtime.open_model(tmp_path / name)
        answers = known.predict(images)
        np.testing.assert_array_equal(answers, known.predict(DATA.normalize(images)))
        np.testing.assert_array_equal(answers.argmax(-1), labels)
