"""Training a classifier from its file."""

from pathlib import Path

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from conftest import BINARY, randomize, saved_weights, without_tracing
from conftest import run as run_command
from larq_zoo.sota.quicknet import QuickNetFactory

from larq_insta import data, training
from larq_insta.checkpoints import keras_files, networks
from larq_insta.layers import InstaThreshold
from larq_insta.training.configuration import Configuration
from larq_insta.training.trainer import trained_weights
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError


def run(*arguments, code=0):
    """Trains a few eager updates."""
    with without_tracing():
        return run_command(*arguments, "--batch-size", 400, code=code)


def classifier(classes=10, size=8, channels=1, dtype="float32"):
    """With a model inside, the softmax within its last layer, and names that repeat."""
    inside = tf.keras.Input((size // 2, size // 2, 4))
    y = lq.layers.QuantConv2D(4, 3, name="conv", **BINARY)(inside)
    y = tf.keras.layers.BatchNormalization(name="norm")(y)
    block = tf.keras.Model(inside, tf.keras.layers.Add()([inside, y]), name="block")
    inputs = tf.keras.Input((size, size, channels), dtype=dtype)
    x = tf.cast(inputs, "float32") if dtype != "float32" else inputs
    x = tf.keras.layers.Conv2D(4, 3, 2, "same", name="stem")(x)
    x = lq.layers.QuantConv2D(4, 3, name="conv", **BINARY)(block(x))
    x = tf.keras.layers.GlobalAveragePooling2D()(x)
    x = tf.keras.layers.Dense(classes, activation="softmax", name="classes")(x)
    return tf.keras.Model(inputs, x, name="own")


def saved(folder, model, suffix=".keras"):
    path = folder / f"own{suffix}"
    model.save(path)
    return str(path)


@pytest.fixture
def file(tmp_path, rng):
    model = classifier()
    randomize(model, rng, 0.1)
    return saved(tmp_path, model)


def test_both_steps_of_an_instance_aware_copy(file, tmp_path):
    said = []
    arguments = {"instance_aware": True, "insta_blocks": "all"}
    two = {"steps": ("activations", "both"), "epochs": 1, "learning_rate": 1e-3}
    result = training.train(
        Configuration(file, model_arguments=arguments, **two), tmp_path / "run", said.append
    )
    assert said[0] == f"All weights are those of {file}."
    first = keras_files.load(tmp_path / "run/step1/best.keras")
    last = keras_files.load(tmp_path / "run/best.keras")
    quantizers = [model.get_layer("conv").kernel_quantizer for model in (first, last)]
    assert quantizers[0] is None
    assert quantizers[1].precision == 1
    thresholds = [x for x in last._flatten_layers() if isinstance(x, InstaThreshold)]
    assert len(thresholds) == 2
    assert all(np.any(layer.alpha) for layer in thresholds)
    card = Card.read(tmp_path / "run/best.keras")
    assert (card.model, card.model_arguments) == ("own", arguments)
    assert 0 <= result.test_accuracy <= 1


def test_a_training_begins_with_the_weights_of_the_file(file):
    student = training.build(file, data.load("digits"), {})
    ours, theirs = (
        keras_files.named_weights(student),
        keras_files.named_weights(keras_files.load(Path(file))),
    )
    assert ours.keys() == theirs.keys()
    assert {name.rpartition("/")[0] for name in ours} >= {"conv", "block/conv", "block/norm"}
    for name, weight in ours.items():
        np.testing.assert_array_equal(weight, theirs[name])


@pytest.mark.slow
def test_the_command_goes_on_and_trains_thresholds_alone(file, tmp_path):
    command = ["train", file, "--instance-aware", "--insta-blocks", "all", "--epochs", 1]
    command += ["--trainable", "channelwise", "--output", tmp_path / "run"]
    assert "Training own" in run(*command)
    assert "holds the finished training" in run(*command)
    before, after = saved_weights(file), saved_weights(tmp_path / "run/best.keras")
    kept = [key for key in before if "conv2d/vars" in key]
    assert kept
    for key in kept:
        np.testing.assert_array_equal(before[key], after[key])
    model = keras_files.load(tmp_path / "run/best.keras")
    assert any(np.any(x.alpha) for x in model._flatten_layers() if isinstance(x, InstaThreshold))
    assert "Training own" in run(
        "train", tmp_path / "run/best.keras", "--epochs", 1, "--output", tmp_path / "more"
    )


@pytest.mark.slow
def test_a_file_that_changed_is_refused(file, tmp_path, rng):
    command = ["train", file, "--epochs", 2, "--output", tmp_path / "run"]
    run(*command)
    (tmp_path / "run/result.json").unlink()
    saved(tmp_path, classifier())
    assert f"{file} is another" in run(*command, code=2)


def test_other_classes_get_a_new_head_that_is_trained(tmp_path):
    path = saved(tmp_path, classifier(classes=4))
    network = networks.find(path)
    dataset = data.load("digits")
    assert network.has_new_head(10)
    assert "The classifier is new, for 10 classes" in network.remark(dataset.class_names)
    student = training.build(path, dataset, {})
    names = {w.name for w in trained_weights(student, "channelwise", new_head=True)}
    assert {"classes/kernel:0", "classes/bias:0"} <= names
    assert not any("stem" in name for name in names)


def test_a_file_with_a_card_says_how_it_takes_pictures(tmp_path):
    run(
        "train",
        "ReActNet18",
        "--filters",
        "4",
        "--image-size",
        12,
        "--epochs",
        1,
        "--steps",
        "both",
        "--output",
        tmp_path / "a",
    )
    network = networks.find(str(tmp_path / "a/best.keras"))
    settings = network.settings(None, None)
    assert settings["prepared"].size == 12
    assert data.load("digits", **settings).input_shape == (12, 12, 1)


@pytest.mark.parametrize(("kind", "mean", "std"), [("pixels", 0, 1), ("unit", 0, 255)])
def test_what_it_takes_may_be_said(file, kind, mean, std):
    network = networks.find(file)
    dataset = network.fed(data.load("digits"), {"input": kind})
    assert (dataset.preprocessing.mean, dataset.preprocessing.std) == ((mean,), (std,))
    assert network.fed(data.load("digits"), {}).preprocessing == data.load("digits").preprocessing


def test_whole_numbers_are_pixels(tmp_path):
    network = networks.find(saved(tmp_path, classifier(dtype="uint8")))
    assert network.fed(data.load("digits"), {}).preprocessing.std == (1,)
    with pytest.raises(InputError, match="What a model takes is pixels"):
        network.fed(data.load("digits"), {"input": "unit"})


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.filterwarnings("ignore:The `keras.initializers.serialize")
def test_quicknets_of_larq_zoo_load(suffix, tmp_path, rng):
    form = {"section_filters": (4, 8), "section_blocks": (1, 1), "num_classes": 10}
    model = QuickNetFactory(input_shape=(16, 16, 1), weights=None, **form).build()
    randomize(model, rng)
    path = tmp_path / f"quicknet{suffix}"
    model.save(path)
    before = path.read_bytes()
    x = rng.normal(size=(2, 16, 16, 1)).astype(np.float32)
    np.testing.assert_array_equal(keras_files.load(path)(x), model(x))
    assert path.read_bytes() == before


def two_ends():
    inputs = [tf.keras.Input((8, 8, 1)), tf.keras.Input((8, 8, 1))]
    return tf.keras.Model(inputs, tf.keras.layers.Add()(inputs))


def of_layers(*layers, shape=(8, 8, 1)):
    return tf.keras.Sequential([tf.keras.Input(shape), *layers, tf.keras.layers.Flatten()])


REFUSED = {
    "missing": (None, {}, "A checkpoint must exist; got"),
    "two_inputs": (two_ends, {}, "has 2 inputs and 1 outputs"),
    "not_square": (
        lambda: of_layers(shape=(8, 4, 1)), {}, "must take square pictures; .* takes 8 x 4",
    ),
    "no_softmax": (
        lambda: of_layers(tf.keras.layers.Dense(1), tf.keras.layers.GlobalMaxPooling2D()),
        {},
        "To tell|must end with a softmax over its classes",
    ),
    "no_signs": (classifier, {"insta_blocks": "stage1"}, "add --instance-aware"),
    "filters": (classifier, {"filters": (4,)}, "has its layers, and takes .* got filters"),
    "prelu": (
        classifier, {"instance_aware": True, "prelu": {"statistic": "mean"}}, "got statistic",
    ),
    "size": (lambda: classifier(channels=3), {}, "takes .*8, 8, 3.*, the data set gives .*8, 8, 1"),
    "mixed_up": (classifier, {"input": "raw"}, "got 'raw' for"),
    "blocks": (classifier, {"instance_aware": True, "insta_blocks": ["a"]}, "beginnings; got 'a'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_refused(name, tmp_path):
    build, arguments, message = REFUSED[name]
    path = saved(tmp_path, build()) if build else str(tmp_path / "none.keras")
    with pytest.raises(InputError, match=message):
        training.train(Configuration(path, model_arguments=arguments, epochs=1), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_attention_needs_activations_by_name(file, tmp_path):
    configuration = Configuration(file, teacher=file, attention_weight=1.0, epochs=1)
    with pytest.raises(InputError, match="needs activations called ..._prelu; own has none"):
        training.train(configuration, tmp_path / "run")
