"""What models say to arguments that they cannot use."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_refused

from larq_insta import models
from larq_insta.zoo import pretrained

MAPS = np.ones((2, 4, 4, 6), np.float32)
SMALL = {"input_shape": (8, 8, 1), "stem": "small", "num_classes": 3, "filters": (4,)}


def model(**arguments):
    return lambda: models.InstaResNet18(**{**SMALL, "insta_blocks": "all", **arguments})


def insta(**threshold):
    return lambda: models.InstaResNet18(**{**SMALL, "filters": (4, 8)}, threshold=threshold)


FUNCTIONS = {
    "a model's stem": (lambda: models.ReActNet18(stem="big"), "got 'big'"),
    "a model's binary": (lambda: models.ReActNet18(binary="some"), "got 'some'"),
    "a model's float weights": (lambda: models.ReActNet18(float_weights="int4"), "got 'int4'"),
    "a model's padding": (lambda: models.ReActNet18(pad_values=0.5), "got 0.5"),
    "a model's classes": (lambda: models.ReActNet18(num_classes=0), "got 0"),
    "a model's shape": (lambda: models.ReActNet18(input_shape=(224, 224)), "(224, 224)"),
    "a model's size": (lambda: models.ReActNet18(input_shape=(16, 16, 3)), "(16, 16, 3)"),
    "a model's channels": (lambda: models.ReActNet18(input_shape=(64, 64, None)), "None"),
    "a model's filters": (lambda: models.ReActNet18(filters=()), "got ()"),
    "a model's negative filters": (lambda: models.ReActNet18(filters=(4, -1)), "(4, -1)"),
    "a model's one filter": (model(filters=4), "write (4, ...)"),
    "a model's no filters": (model(filters=None), "value None"),
    "a model's one size": (model(input_shape=28), "write (28, ...)"),
    "a model's one block": (model(insta_blocks=3), "write (3, ...)"),
    "a model's broken filters": (model(filters=(4, 2.5)), "got (4, 2.5)"),
    "a model's channels below 0": (model(input_shape=(8, 8, -1)), "got (8, 8, -1)"),
    "a model's classes in words": (model(num_classes="3"), "num_classes.* value '3'"),
    "a model's tensor in words": (model(input_tensor="x"), "must be a tensor; got str"),
    "a model's tensor as array": (model(input_tensor=MAPS), "must be a tensor; got ndarray"),
    "a model's folder of weights": (model(weights="/tmp"), "got '/tmp', which is a folder"),
    "a model's file of other things": (model(weights=__file__), "test_bad_models.py"),
    "a model's weights of another": (
        model(weights=str(pretrained.checkpoint("fashion_mnist"))), "must be a file of this model"),
    "a model's unnamed function": (lambda: models.get(None), "got None"),
    "a model's ImageNet weights": (lambda: models.ReActNet18(weights="imagenet"), "ImageNet"),
    "a model's weights": (lambda: models.ReActNet18(weights="no.h5"), "got 'no.h5'"),
    "a model's trained weights": (
        lambda: models.ReActNet18(weights="fashion_mnist"), "InstaResNet18"),
    "a model's tensor": (lambda: models.ReActNet18(input_tensor=tf.zeros((1, 4, 4, 3))), "4"),
    "a model's widening": (
        lambda: models.ReActNetA(input_shape=(32, 32, 3), filters=(8, 24)), "24 after 8"),
    "a model's blocks": (
        lambda: models.InstaResNet18(**SMALL, insta_blocks=("stage7",)), "stage7"),
    "a model's empty blocks": (lambda: models.InstaResNet18(**SMALL, insta_blocks=()), "()"),
    "a model's threshold": (insta(statistik="mean"), "statistik"),
    "a model's ratio": (insta(reduction_ratio=-1), "-1"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_models_name_the_value_that_they_cannot_use(call, message, tmp_path, monkeypatch):
    assert_refused(call, message, tmp_path, monkeypatch)
