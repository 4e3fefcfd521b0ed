"""Trainings that start from weights."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import randomize, run

from larq_insta import data, training
from larq_insta.checkpoints import keras_files
from larq_insta.checkpoints.initial import InitialWeights
from larq_insta.layers import InstaThreshold
from larq_insta.lite.card import Card
from larq_insta.lite.errors import InputError
from larq_insta.training.configuration import Configuration
from larq_insta.training.trainer import Trainer, trained_weights

FORM = {"filters": [4, 8], "pad_values": 0.0}


def digits(name, **arguments):
    return training.build(name, data.load("digits"), {**FORM, **arguments})


@pytest.fixture(scope="module")
def static(tmp_path_factory):
    """A trained ReActNet's file, as far as numbers go."""
    path = tmp_path_factory.mktemp("static") / "static.keras"
    model = digits("ReActNet18")
    randomize(model, np.random.default_rng(0))
    dataset = data.load("digits")
    arguments = {**FORM, "binary": "both"}
    card = Card("ReActNet18", arguments, "digits", dataset.class_names, dataset.preprocessing)
    keras_files.save(model, path, card)
    return path


def configured(path, **changes):
    settings = {
        "steps": ("both", "both"),
        "trainable": ("channelwise", "all"),
        "epochs": 1,
        "batch_size": 300,
        "initial_weights": str(path),
    }
    return Configuration("InstaResNet18", **{**settings, **changes})


def by_kind(model):
    """Weights with a value a channel but those of the classifier, and all others."""
    channelwise = {w.ref() for w in trained_weights(model, "channelwise")}
    trainable = [(w.ref() in channelwise, w.numpy()) for w in model.trainable_variables]
    return [[w for kind, w in trainable if kind == wanted] for wanted in (True, False)]


def test_channelwise_weights_are_those_of_thresholds_prelus_and_batch_norms():
    model = digits("InstaResNet18", plus=True, insta_blocks="all")
    names = {weight.name for weight in trained_weights(model, "channelwise")}
    others = {weight.name for weight in trained_weights(model, "all")} - names
    parts = ("_threshold/", "_prelu/", "_batch_norm/")
    assert all(any(part in name for part in parts) for name in names)
    assert any("branch_expand" in name for name in names)
    assert all("_conv/kernel" in name or "head_logits" in name for name in others)


def test_an_instance_aware_model_starts_as_the_static_one_it_comes_from(static, rng):
    initial = InitialWeights.find(static)
    assert initial.arguments == FORM
    model = digits("InstaResNet18", **initial.arguments, insta_blocks="all", plus=True)
    initial.load_into(model)
    x = rng.normal(size=(5, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(model(x), keras_files.load(static)(x), rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_the_first_step_trains_what_is_new_and_the_second_all(static, tmp_path):
    training.train(configured(static), tmp_path / "out")
    before = by_kind(keras_files.load(static))
    between = keras_files.load(tmp_path / "out/step1/best.keras")
    after = keras_files.load(tmp_path / "out/best.keras")
    for old, new in zip(before[1], by_kind(between)[1], strict=True):
        np.testing.assert_array_equal(old, new)
    for step in (between, after):
        threshold = next(x for x in step.layers if isinstance(x, InstaThreshold))
        assert threshold.alpha.numpy().any()
    pairs = zip(by_kind(between)[1], by_kind(after)[1], strict=True)
    assert any(np.any(old != new) for old, new in pairs)
    card = Card.read(tmp_path / "out/best.keras")
    assert card.model_arguments == FORM
    assert card.training["initial_weights"] == str(static)
    padding = {layer.pad_values for layer in after.layers if hasattr(layer, "pad_values")}
    assert padding == {0.0}


def test_weights_that_do_not_fit_are_listed_before_anything_is_written(static, tmp_path):
    wider = configured(static, model_arguments={"filters": [4, 16]})
    with pytest.raises(InputError, match="of another shape: head_logits/kernel:0"):
        training.train(wider, tmp_path / "out")
    fewer = configured(static, model_arguments={"filters": [4], "insta_blocks": "all"})
    with pytest.raises(InputError, match="left over: stage2_block1_batch_norm/beta"):
        training.train(fewer, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--initial-weights", "nowhere.keras"), "must be a file; got 'nowhere.keras'"),
        (("--initial-weights", "pyproject.toml"), "at least 32 x 32 pixels with stem='imagenet'"),
        (("--trainable", "some"), "`trainable` is of all or channelwise; got some"),
        (("--trainable", "all,channelwise"), "one for each of the 1 steps"),
    ],
)
def test_wrong_values_are_one_line(options, words, tmp_path):
    output = tmp_path / "out"
    result = run("train", "InstaResNet18", "--filters", "4", *options, "--output", output, code=2)
    assert words in result
    assert not output.exists()


@pytest.mark.slow
def test_a_training_of_one_kind_of_weights_resumes(static, tmp_path, monkeypatch):
    whole, parts = configured(static, epochs=2, steps=("both",), trainable="channelwise"), tmp_path
    training.train(whole, parts / "a")
    fit = Trainer.fit

    def interrupted(self, *args, **kwargs):
        fit(self, *args, **{**kwargs, "epochs": 1})
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train(whole, parts / "b")
    monkeypatch.undo()
    training.train(whole, parts / "b")
    pairs = [keras_files.load(parts / run / "last.keras").get_weights() for run in "ab"]
    for a, b in zip(*pairs, strict=True):
        np.testing.assert_array_equal(a, b)
    assert tf.io.gfile.exists(str(parts / "b/result.json"))
