"""All of Larq Zoo's models become files for every runtime, with random weights."""

import json

import larq_zoo as lz
import numpy as np
import pytest
import tensorflow as tf
from conftest import randomize

from larq_insta import conversion
from larq_insta.conversion.report import TOLERANCE
from larq_insta_runtime.card import Card
from larq_insta_runtime.preprocessing import Preprocessing

CONVOLUTIONS = {
    "QuickNet": 16,
    "QuickNetSmall": 16,
    "QuickNetLarge": 32,
    "BinaryAlexNet": 7,
    "BiRealNet": 16,
    "BinaryResNetE18": 16,
    "BinaryDenseNet28": 23,
    "BinaryDenseNet37": 32,
    "BinaryDenseNet37Dilated": 32,
    "BinaryDenseNet45": 40,
    "MeliusNet22": 34,
    "RealToBinaryNet": 16,
    "XNORNet": 6,
    "DoReFaNet": 6,
}
"""Binary ones of each model. DoReFaNet's two dense layers are such of one pixel."""

CARD = Card("model", {}, "random", tuple("abcdefghij"), Preprocessing(224, 3))
PICTURES = 16
pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore"),  # of models without regularized kernels
]


def as_new(model, images):
    """As it is made: numbers in front of signs are often exactly zero, or grow with every layer."""


def as_calibrated(model, images):
    """With batch normalisations of what is there, and all else moved from where it starts."""
    randomize(model, np.random.default_rng(3))
    for layer in model._flatten_layers():
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)


@pytest.mark.parametrize(
    ("runtime", "prepare"), [("lce", as_new), ("lce", as_calibrated), ("tflite", as_calibrated)]
)
@pytest.mark.parametrize(("name", "convolutions"), CONVOLUTIONS.items())
def test_a_model_becomes_a_file(name, convolutions, runtime, prepare, tmp_path):
    tf.keras.backend.clear_session()
    module = lz.sota if hasattr(lz.sota, name) else lz.literature
    model = getattr(module, name)(weights=None, num_classes=10)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(PICTURES, 224, 224, 3)).astype(np.float32)
    prepare(model, images)
    target, labels = tmp_path / "model.tflite", rng.integers(0, 10, PICTURES)
    report = conversion.convert(model, target, CARD, images, labels, runtime=runtime)
    assert report.problems == ()
    assert json.loads((tmp_path / "model.tflite.json").read_text())["remarks"] == [*report.remarks]
    in_float = name == "DoReFaNet" and runtime == "tflite"
    assert report.expected_convolutions == convolutions
    assert report.binary_convolutions == (0 if in_float else convolutions)
    assert report.float_layers == ()
    assert len(report.blocks) > convolutions
    assert max(block.deviation for block in report.blocks) <= TOLERANCE
    assert report.device_deviation <= TOLERANCE
