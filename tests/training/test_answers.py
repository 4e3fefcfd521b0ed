"""Answers that are no numbers are told, wherever pictures are counted right or wrong."""

import math

import numpy as np
import pytest
import tensorflow as tf
from conftest import run, without_tracing

from larq_insta import data, training
from larq_insta.checkpoints import keras_files
from larq_insta.training import answers, distillation, resume
from larq_insta.training.configuration import Configuration
from larq_insta.training.trainer import Trainer
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture
def overflowing():
    """A network that answers dark pictures with no numbers."""
    pixels = tf.keras.Input((8, 8, 1))
    x = tf.keras.layers.Flatten(name="flat")(pixels)
    enormous = tf.keras.initializers.Constant(1.5e37)
    x = tf.keras.layers.Dense(10, kernel_initializer=enormous, name="enormous")(x)
    return tf.keras.Model(pixels, tf.keras.layers.Softmax()(x), name="overflowing")


def row(epoch, val_accuracy, val_loss):
    return {"epoch": epoch, "val_accuracy": val_accuracy, "val_loss": val_loss}


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_an_epoch_with_broken_answers_is_not_the_best(broken, tmp_path):
    history = resume.History()
    history.rows = [row(1, 0.5, 1.0), row(2, 0.9, broken), row(3, 0.6, 1.0)]
    assert answers.best_epoch(history, tmp_path)["epoch"] == 3
    history.rows = [row(1, 0.9, broken)]
    with pytest.raises(InputError, match="no epoch after which all are: bound the statistics"):
        answers.best_epoch(history, tmp_path)


def test_a_network_that_cannot_answer_is_told_with_its_layer(digits, overflowing):
    said = []
    remarks = answers.Remarks(overflowing, digits, said.append)
    remarks.on_epoch_end(1, {"val_loss": 1.0})
    remarks.on_epoch_end(2, {})
    assert not said
    remarks.on_epoch_end(3, {"val_loss": math.nan})
    assert said[0].startswith("After epoch 4 answers to validation pictures are not finite")
    assert "the output of layer enormous, whose inputs reach 1.0e+00" in said[0]
    count, total = said[0].split("best: ")[1].split(";")[0].split(" of ")
    assert 0 < int(count) < int(total) == digits.validation.size


def test_a_test_with_broken_answers_is_refused(digits, overflowing):
    with pytest.raises(InputError, match=r"Answers to test .* of 360; .* of layer enormous"):
        answers.test_accuracy(overflowing, digits)


@pytest.mark.slow
def test_a_training_whose_validations_are_broken_has_no_result(tmp_path, monkeypatch):
    def test_step(self, batch):
        pictures, labels = batch
        return self._record(labels, self(pictures), tf.constant(math.nan))

    monkeypatch.setattr(Trainer, "test_step", test_step)
    arguments = {"filters": (4,), "insta_blocks": "all"}
    configuration = Configuration(
        "InstaResNet18", model_arguments=arguments, epochs=1, batch_size=700
    )
    said = []
    unfinished = pytest.raises(InputError, match="there is no epoch after which all are")
    with without_tracing(), unfinished:
        training.train(configuration, tmp_path / "run", said.append)
    assert any("After epoch 1 answers to validation pictures are not finite" in x for x in said)
    assert (tmp_path / "run" / "last.keras").exists()
    assert not (tmp_path / "run" / "best.keras").exists()
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.fixture(scope="module")
def broken(trained, tmp_path_factory):
    """A checkpoint whose classifier is no number."""
    path = tmp_path_factory.mktemp("broken") / "broken.keras"
    model = keras_files.load(trained / "best.keras")
    model.get_layer("head_logits").bias.assign(np.full(10, np.nan))
    keras_files.save(model, path, Card.read(trained / "best.keras"))
    return path


@pytest.mark.slow
def test_commands_refuse_models_whose_answers_are_broken(broken, tmp_path):
    assert "answers must be finite; got nan" in run("evaluate", broken, code=2)
    assert "answers must be finite" in run("inspect", broken, tmp_path / "page", code=2)


def test_teachers_whose_answers_are_broken_are_refused(broken, digits):
    with pytest.raises(InputError, match="teacher's answers must be finite; .* gives nan"):
        distillation.load_teacher(str(broken), digits)


def test_a_teacher_that_some_pictures_break_is_told(digits, overflowing):
    teacher = distillation.Teacher(overflowing, digits.normalize)
    pictures, _ = digits.test_pictures(360, normalized=False)
    assert not teacher.is_finite(pictures)
    grey = np.full((2, 8, 8, 1), 127, np.uint8)
    assert teacher.is_finite(grey)
