"""What functions of the other wings say to values that they cannot use."""

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_refused, tiny

import larq_insta
from larq_insta import conversion, data, models, runtime, weights
from larq_insta.checkpoints import keras_files
from larq_insta.reports import inspection
from larq_insta.training import distillation
from larq_insta.training.configuration import Configuration
from larq_insta.zoo import pretrained
from larq_insta_runtime import packaged
from larq_insta_runtime.card import Card
from larq_insta_runtime.preprocessing import Preprocessing

SMALL = {"input_shape": (8, 8, 1), "stem": "small", "num_classes": 3, "filters": (4,)}


def fashion(images):
    return lambda: runtime.LiteModel(packaged.converted("fashion_mnist")).predict(images)


@functools.cache
def keras_model():
    return runtime.KerasModel(pretrained.checkpoint("fashion_mnist"))


def fashion_keras(images):
    return lambda: keras_model().predict(images)


CARD = Card("ReActNet18", {}, "digits", ("a", "b", "c"), Preprocessing(8, 1))


def convert(target="x.tflite", shape=(2, 8, 8, 1), labels=2, card=CARD, **arguments):
    def call():
        images, classes = np.zeros(shape, np.float32), np.zeros(labels, np.int64)
        model = tiny("ReActNetA", num_classes=3)
        conversion.convert(model, Path(target), card, images, classes, **arguments)

    return call


def inspect(*shape):
    return lambda: inspection.inspect(tiny(), np.zeros(shape, np.float32))


def checked(**values):
    return lambda: Configuration("ReActNet18", **values).check()


FUNCTIONS = {
    "a profile of a subclass": (
        lambda: larq_insta.profile(type("Net", (tf.keras.Model,), {})()), "Net"),
    "a profile of a word": (lambda: larq_insta.profile("InstaResNet18"), "'InstaResNet18'"),
    "a profile of a layer": (lambda: larq_insta.profile(tf.keras.layers.Dense(1)), "Dense"),
    "a data set": (lambda: data.load("digitz"), "digits"),
    "a data set's size": (lambda: data.load("digits", image_size=2), "got 2"),
    "a data set's large size": (lambda: data.load("digits", image_size=20_000), "from 8 to 16384"),
    "a data set without a name": (lambda: data.load(""), "write ./"),
    "pictures to inspect": (inspect(1, 8, 8, 3), "got (1, 8, 8, 3)"),
    "no pictures to inspect": (inspect(0, 8, 8, 1), "got (0, 8, 8, 1)"),
    "a data set's share": (lambda: data.load("digits", validation_share=1.0), "got 1.0"),
    "a data set's folder": (lambda: data.load("./nowhere"), "nowhere"),
    "a model file": (lambda: runtime.open_model(Path("no.tflite")), "'no.tflite'"),
    "a checkpoint": (lambda: keras_files.load(Path("no.keras")), "'no.keras'"),
    "a checkpoint's kind": (lambda: keras_files.load(Path(__file__)), "test_bad_values.py"),
    "a picture": (lambda: runtime.read_picture(Path("no.png"), Preprocessing(8, 1)), "'no.png'"),
    "a preprocessing's size": (lambda: Preprocessing(0, 1), "got 0"),
    "a preprocessing's channels": (lambda: Preprocessing(8, 2), "got 2"),
    "a preprocessing's crop": (lambda: Preprocessing(8, 1, crop=float("nan")), "got nan"),
    "a preprocessing's std": (lambda: Preprocessing(8, 1, std=(float("inf"),)), "got (inf,)"),
    "images of another size": (fashion(np.zeros((1, 28, 27, 1))), "(1, 28, 27, 1)"),
    "images of other channels": (fashion(np.zeros((1, 28, 28, 3))), "(1, 28, 28, 3)"),
    "one image without a batch": (fashion(np.zeros((28, 28, 1))), "(28, 28, 1)"),
    "images of words": (fashion(np.full((1, 28, 28, 1), "x")), "<U1"),
    "images of NaN": (fashion(np.full((1, 28, 28, 1), np.nan)), "nan"),
    "images of infinity": (fashion(np.full((1, 28, 28, 1), -np.inf)), "-inf"),
    "images of another size for Keras": (fashion_keras(np.zeros((1, 28, 27, 1))), "(1, 28, 27, 1)"),
    "images of NaN for Keras": (fashion_keras(np.full((1, 28, 28, 1), np.nan)), "nan"),
    "a target's suffix": (convert("x.onnx"), "'x.onnx'"),
    "pictures of another size": (convert(shape=(2, 7, 8, 1)), "got (2, 7, 8, 1)"),
    "a picture alone": (convert(shape=(8, 8, 1)), "got (8, 8, 1)"),
    "no pictures": (convert(shape=(0, 8, 8, 1), labels=0), "got (0, 8, 8, 1)"),
    "fewer labels than pictures": (convert(labels=1), "and (1,)"),
    "a card of fewer classes": (
        convert(card=replace(CARD, class_names=("a", "b"))), "1 channels and 2 classes"),
    "a runtime": (convert(runtime="gpu"), "got 'gpu'"),
    "float weights' kind": (convert(float_weights="int4"), "int4"),
    "a published checkpoint": (
        lambda: weights.load_reactnet(models.ReActNet18(**SMALL), __file__), "test_bad_values.py"),
    "no published checkpoint": (
        lambda: weights.load_reactnet(models.ReActNet18(**SMALL), "no.pth"), "no.pth"),
    "a configuration's steps": (lambda: Configuration("ReActNet18", steps=("all",)), "got all"),
    "a configuration's epochs": (
        lambda: Configuration("ReActNet18", epochs=(1, 2)), "(both); got 2"),
    "a configuration's parts of epochs": (checked(epochs=1.5), "a whole number; got 1.5"),
    "a configuration's epochs in words": (checked(epochs="x"), "a whole number; got 'x'"),
    "a configuration's batches": (checked(batch_size=2.5), "a whole number; got 2.5"),
    "a configuration's rate in words": (checked(learning_rate="x"), "be a number; got 'x'"),
    "a configuration's infinite decay": (
        checked(weight_decay=float("inf")), "`weight_decay` must be finite; got inf"),
    "a configuration's seed": (checked(seed=0.5), "a whole number; got 0.5"),
    "a configuration's trained parts": (checked(trainable=3), "got 3"),
    "a configuration's recipe": (
        lambda: Configuration.from_recipe("fast", "ReActNet18", {}), "got 'fast'"),
    "a configuration's rate": (
        lambda: Configuration("ReActNet18", learning_rate=(0.0,)).check(), "got 0.0"),
    "a teacher": (lambda: distillation.load_teacher("ResNet51", data.load("digits")), "ResNet51"),
    "weights of another model": (
        lambda: keras_files.hand_over(
            tiny("ReActNetA", num_classes=3), tiny("ReActNetA", num_classes=5)),
        "(4, 3) for (4, 5)"),
}  # fmt: skip


@pytest.mark.quick(25)
@pytest.mark.parametrize(("call", "message"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_name_the_value_that_they_cannot_use(call, message, tmp_path, monkeypatch):
    assert_refused(call, message, tmp_path, monkeypatch)
