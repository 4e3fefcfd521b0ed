"""Files of other versions.

`fixtures/0.1.0/` is of commit 900fdb5, before modules moved into wings, and TensorFlow 2.15: a
network of all layers and quantizers in both of Keras's formats, a trained model with its card,
its converted file, an interrupted training, and what all of them answered.
`fixtures/tensorflow-2.19/` holds the same, without the converted file; `fixtures/write.py` wrote
it on Python 3.12.
"""

import importlib
import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from conftest import FIXTURES, run, tiny

from larq_insta import runtime
from larq_insta.checkpoints import keras_files
from larq_insta_runtime.card import Card

FOLDER = FIXTURES / "0.1.0"
FOLDERS = (FOLDER, FIXTURES / "tensorflow-2.19")
ROUNDING = 1e-6
"""Of answers: other processors sum in another order."""


def answers(folder):
    with np.load(folder / "answers.npz") as file:
        return dict(file)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_layer_answers_the_same(folder, suffix):
    given = answers(folder)
    model = keras_files.load(folder / f"everything.{suffix}")
    found = model(given["images"], training=False)
    np.testing.assert_allclose(found, given["everything"], atol=ROUNDING)


@pytest.mark.parametrize(
    ("folder", "suffix", "key"),
    [
        (FOLDERS[0], "keras", "digits"),
        (FOLDERS[0], "tflite", "digits_lite"),
        (FOLDERS[1], "keras", "digits"),
    ],
    ids=str,
)
def test_files_with_cards_answer_the_same(folder, suffix, key):
    given = answers(folder)
    model = runtime.open_model(folder / f"digits.{suffix}")
    found = model.predict(given["digits_images"])
    np.testing.assert_allclose(found, given[key], atol=ROUNDING)
    assert model.card.class_names == tuple("0123456789")
    assert model.card.versions["larq_insta"] == "0.1.0"


def test_keras_itself_reads_what_we_write_in_every_version():
    given = answers(FOLDERS[1])
    model = tf.keras.models.load_model(FOLDERS[1] / "digits.keras", compile=False)
    found = model(given["digits_images"], training=False)
    np.testing.assert_allclose(found, given["digits"], atol=ROUNDING)


def test_files_name_modules_as_keras_2_15_does(tmp_path):
    path = tmp_path / "model.keras"
    network = tiny()
    keras_files.save(network, path, Card.read(FOLDER / "digits.keras"))
    with zipfile.ZipFile(path) as archive:
        assert b"tf_keras" not in archive.read("config.json")
    copy = tf.keras.models.load_model(path, compile=False)
    for a, b in zip(network.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_keras_finds_classes_where_they_were():
    # Layers alone: Larq takes no quantizer that is not registered before loading begins.
    code = """
import json
import sys
import larq
import tensorflow as tf
layer = tf.keras.utils.deserialize_keras_object(json.loads(sys.argv[1]))
print(type(layer).__name__, type(layer).__module__)
"""
    plus = next(layer for layer in ours() if layer["config"]["name"] == "plus")
    command = [sys.executable, "-W", "ignore", "-c", code, json.dumps(plus)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["InstaThreshold", "larq_insta.layers.thresholds"]


def test_old_modules_hold_their_classes():
    places = {(part["module"], part["class_name"]) for part in ours()}
    assert len({module for module, _ in places}) == 5
    for module, name in places:
        assert hasattr(importlib.import_module(module), name), module


def ours():
    """The configurations of our layers and quantizers in the checkpoint."""
    with zipfile.ZipFile(FOLDER / "everything.keras") as file:
        parts = [json.loads(file.read("config.json"))]
    for part in parts:
        parts += part.values() if isinstance(part, dict) else part if isinstance(part, list) else []
    dicts = [part for part in parts if isinstance(part, dict)]
    return [part for part in dicts if str(part.get("module")).startswith("larq_insta.")]


@pytest.mark.slow
@pytest.mark.parametrize("given", FOLDERS, ids=lambda folder: folder.name)
def test_an_interrupted_training_goes_on(given, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(given / "run", folder)
    options = ["--plus", "--filters", "4,8", "--epochs", 2]
    output = run("train", "InstaResNet18", *options, "--output", folder)
    assert "going on after epoch 1" in output
    expected = answers(given)
    weights = keras_files.named_weights(keras_files.load(folder / "last.keras"))
    assert {f"last/{name}" for name in weights} == {n for n in expected if n.startswith("last/")}
    for name, weight in weights.items():
        np.testing.assert_allclose(weight, expected[f"last/{name}"], atol=1e-3, err_msg=name)
