"""Mutations of real files: no crash, no hang, no other error than our own, no other file.

`LARQ_INSTA_MUTATIONS=2000 python -m pytest -m slow tests/test_fuzz.py` is the long run.
"""

import os

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from fuzzing import attack, misbehave, read_checkpoint, read_picture, read_torch, run_lite
from PIL import Image

import larq_insta
from larq_insta_runtime import packaged

torch = pytest.importorskip("torch")

MUTATIONS = int(os.environ.get("LARQ_INSTA_MUTATIONS", "20"))


def tiny():
    """A model of each kind of layer, so small that reading it takes a moment."""
    return tf.keras.Sequential(
        [
            tf.keras.Input((4, 4, 2)),
            larq_insta.InstaThreshold(reduction_ratio=2),
            lq.layers.QuantConv2D(
                2,
                3,
                pad_values=1.0,
                padding="same",
                input_quantizer="lean_approx_sign",
                kernel_quantizer="magnitude_aware_sign",
                kernel_constraint="weight_clip",
            ),
            tf.keras.layers.BatchNormalization(),
            larq_insta.InstaPReLU(),
            tf.keras.layers.GlobalAveragePooling2D(),
            tf.keras.layers.Dense(3, activation="softmax"),
        ]
    )


def check_attack(attempt, original, folder):
    around = {path.name for path in folder.iterdir()} | {"inside"}
    inside = folder / "inside"
    inside.mkdir()
    assert not list(attack(attempt, original, inside, MUTATIONS))
    assert not list(inside.iterdir())
    assert {path.name for path in folder.iterdir()} == around


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_checkpoints(suffix, tmp_path):
    original = tmp_path / f"original.{suffix}"
    tiny().save(original)
    check_attack(read_checkpoint, original, tmp_path)


@pytest.mark.slow
def test_lite_files(tmp_path):
    check_attack(run_lite, packaged.converted("fashion_mnist"), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "webp"])
def test_pictures(suffix, tmp_path, rng):
    original = tmp_path / f"original.{suffix}"
    Image.fromarray(rng.integers(0, 256, (24, 32, 3)).astype(np.uint8)).save(original)
    check_attack(read_picture, original, tmp_path)


@pytest.mark.slow
def test_published_checkpoints(tmp_path):
    original = tmp_path / "original.pth.tar"
    torch.save({"state_dict": {"a": torch.ones(3, 4), "b": torch.zeros(2)}}, original)
    check_attack(read_torch, original, tmp_path)


@pytest.mark.slow
def test_the_attack_tells_crashes_and_foreign_errors(tmp_path):
    original = tmp_path / "original.txt"
    original.write_text("anything")
    found = list(attack(misbehave, original, tmp_path, 3))
    assert found == [
        "mutation 0 crashed (7)",
        "mutation 1 raised KeyError: 'surprise'",
    ]
    assert {path.name for path in tmp_path.glob("[0-9]*")} == {"0.txt", "1.txt", "1.problem"}
