"""Trainings that start from weights."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import assert_same_weights, randomize, run, without_tracing

from larq_insta import data, training
from larq_insta.checkpoints import keras_files
from larq_insta.checkpoints.initial import InitialWeights
from larq_insta.layers import InstaThreshold
from larq_insta.lite.card import Card
from larq_insta.lite.errors import InputError
from larq_insta.training.configuration import Configuration
from larq_insta.training.trainer import Trainer, trained_weights

FORM = {"filters": [4, 4], "pad_values": 0.0}
EVERYWHERE = {"insta_blocks": "all"}


def digits(name, **arguments):
    return training.build(name, data.load("digits"), {**FORM, **arguments})


@pytest.fixture(scope="module")
def static(tmp_path_factory):
    """A trained ReActNet's file, as far as numbers go."""
    path = tmp_path_factory.mktemp("static") / "static.keras"
    model = digits("ReActNetA")
    randomize(model, np.random.default_rng(0))
    dataset = data.load("digits")
    arguments = {**FORM, "binary": "both"}
    card = Card("ReActNetA", arguments, "digits", dataset.class_names, dataset.preprocessing)
    keras_files.save(model, path, card)
    return path


def configured(path, **changes):
    settings = {
        "model_arguments": EVERYWHERE,
        "steps": ("both", "both"),
        "trainable": ("channelwise", "all"),
        "epochs": 1,
        "batch_size": 600,
        "initial_weights": str(path),
    }
    return Configuration("InstaMobileNetV1", **{**settings, **changes})


def by_kind(model):
    """Weights with a value a channel but those of the classifier, and all others."""
    channelwise = {w.ref() for w in trained_weights(model, "channelwise")}
    trainable = [(w.ref() in channelwise, w.numpy()) for w in model.trainable_variables]
    return [[w for kind, w in trainable if kind == wanted] for wanted in (True, False)]


def test_channelwise_weights_are_those_of_thresholds_prelus_and_batch_norms():
    model = digits("InstaMobileNetV1", plus=True, **EVERYWHERE)
    names = {weight.name for weight in trained_weights(model, "channelwise")}
    others = {weight.name for weight in trained_weights(model, "all")} - names
    parts = ("_threshold/", "_prelu/", "_batch_norm/")
    assert all(any(part in name for part in parts) for name in names)
    assert any("branch_expand" in name for name in names)
    assert all("_conv/kernel" in name or "head_logits" in name for name in others)


def test_an_instance_aware_model_starts_as_the_static_one_it_comes_from(static, rng):
    initial = InitialWeights.find(static)
    assert initial.arguments == FORM
    model = digits("InstaMobileNetV1", **initial.arguments, **EVERYWHERE, plus=True)
    initial.load_into(model)
    x = rng.normal(size=(5, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(model(x), keras_files.load(static)(x), rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_the_first_step_trains_what_is_new_and_the_second_all(static, tmp_path):
    with without_tracing():
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
    assert card.model_arguments == FORM | EVERYWHERE
    assert card.training["initial_weights"] == str(static)
    padding = {layer.pad_values for layer in after.layers if hasattr(layer, "pad_values")}
    assert padding == {0.0}


def test_weights_that_do_not_fit_are_listed_before_anything_is_written(static, tmp_path):
    wider = configured(static, model_arguments={"filters": [8, 8], **EVERYWHERE})
    with pytest.raises(InputError, match=r"of another shape: .* head_logits/kernel:0 "):
        training.train(wider, tmp_path / "out")
    fewer = replace(configured(static, model_arguments={"filters": [4]}), model="ReActNetA")
    with pytest.raises(InputError, match="left over: block1_pointwise_batch_norm/beta"):
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
    whole = configured(static, epochs=2, steps=("both",), trainable="channelwise")
    fit = Trainer.fit

    def interrupted(self, *args, **kwargs):
        fit(self, *args, **{**kwargs, "epochs": 1})
        raise KeyboardInterrupt

    with without_tracing():
        training.train(whole, tmp_path / "a")
        monkeypatch.setattr(Trainer, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            training.train(whole, tmp_path / "b")
        monkeypatch.undo()
        training.train(whole, tmp_path / "b")
    assert_same_weights(tmp_path / "a" / "last.keras", tmp_path / "b" / "last.keras")
    assert (tmp_path / "b" / "result.json").exists()
