"""Files that 0.1.0 wrote at commit 900fdb5, before its modules moved into wings.

`fixtures/0.1.0/` holds a network of all layers and quantizers in both of Keras's formats, a
trained model with its card, its converted file, an interrupted training, and what all of them
answered.
"""

import importlib
import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from conftest import FIXTURES, run

from larq_insta import runtime
from larq_insta.checkpoints import keras_files

FOLDER = FIXTURES / "0.1.0"
ROUNDING = 1e-6
"""Of answers: other processors sum in another order."""


@pytest.fixture(scope="module")
def answers():
    with np.load(FOLDER / "answers.npz") as file:
        return dict(file)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_every_layer_answers_the_same(suffix, answers):
    model = keras_files.load(FOLDER / f"everything.{suffix}")
    found = model(answers["images"], training=False)
    np.testing.assert_allclose(found, answers["everything"], atol=ROUNDING)


@pytest.mark.parametrize(("suffix", "key"), [("keras", "digits"), ("tflite", "digits_lite")])
def test_files_with_cards_answer_the_same(suffix, key, answers):
    model = runtime.open_model(FOLDER / f"digits.{suffix}")
    found = model.predict(answers["digits_images"])
    np.testing.assert_allclose(found, answers[key], atol=ROUNDING)
    assert model.card.class_names == tuple("0123456789")
    assert model.card.versions["larq_insta"] == "0.1.0"


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
def test_an_interrupted_training_goes_on(tmp_path, answers):
    folder = tmp_path / "run"
    shutil.copytree(FOLDER / "run", folder)
    options = ["--plus", "--filters", "4,8", "--epochs", 2]
    output = run("train", "InstaResNet18", *options, "--output", folder)
    assert "going on after epoch 1" in output
    weights = keras_files.named_weights(keras_files.load(folder / "last.keras"))
    assert {f"last/{name}" for name in weights} == {n for n in answers if n.startswith("last/")}
    for name, weight in weights.items():
        np.testing.assert_allclose(weight, answers[f"last/{name}"], atol=1e-3, err_msg=name)
