"""The programs for devices in `docs/deploy`, built and run on this machine.

`CXX` is the C++ compiler, `g++` by default.
"""

import json
import os
import shlex
import shutil
import subprocess
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from larq_insta.data import preprocessing as graphs
from larq_insta.data.preprocessing import photo_preprocessing
from larq_insta_runtime.card import Card
from larq_insta_runtime.preprocessing import Preprocessing

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"
CXX = shlex.split(os.environ.get("CXX", "g++"))

PREPARE = """
#include "preprocessing.h"

int main(int, char* argv[]) {
  const auto pre = larq_insta::ReadPreprocessing(argv[1]);
  const auto input = larq_insta::Prepare(larq_insta::ReadPicture(argv[2]), pre);
  std::ofstream file(argv[3], std::ios::binary);
  file.write(reinterpret_cast<const char*>(input.data()), input.size() * sizeof(float));
}
"""

pytestmark = pytest.mark.skipif(shutil.which(CXX[0]) is None, reason=f"needs {CXX[0]}")


def compiled(source, target, *arguments):
    flags = ["-std=c++17", "-O2", "-I", str(DEPLOY)]
    subprocess.run([*CXX, *flags, str(source), *arguments, "-o", str(target)], check=True)
    return target


@pytest.fixture(scope="module")
def prepare(tmp_path_factory):
    """Runs the C++ preprocessing on a picture `(height, width, channels)`."""
    folder = tmp_path_factory.mktemp("prepare")
    source, card, picture, result = (folder / name for name in ("p.cc", "c", "p.ppm", "r"))
    source.write_text(PREPARE)
    program = compiled(source, folder / "prepare", "-Wall", "-Wextra", "-Werror")

    def run(pre, image):
        card.write_text(
            json.dumps({"training": {"size": 1}, "preprocessing": asdict(pre)}, indent=2)
        )
        write_picture(picture, image)
        subprocess.run([program, card, picture, result], check=True)
        return np.fromfile(result, np.float32).reshape(pre.size, pre.size, pre.channels)

    return run


def write_picture(path, image):
    height, width, channels = image.shape
    kind = {1: "P5", 3: "P6"}[channels]
    path.write_bytes(f"{kind}\n# a comment\n{width} {height}\n255\n".encode() + image.tobytes())


@pytest.mark.parametrize("shape", [(300, 210), (61, 200), (32, 32), (3, 5), (1, 1)])
@pytest.mark.parametrize(
    "pre",
    [
        photo_preprocessing(64),
        photo_preprocessing(64, resampling="bicubic"),
        photo_preprocessing(48, channels=1),
        Preprocessing(32, 3),
        Preprocessing(8, 1, resampling="bicubic"),
    ],
    ids=str,
)
def test_devices_prepare_pictures_as_training_does(rng, prepare, pre, shape):
    image = rng.integers(0, 256, (*shape, pre.channels)).astype(np.uint8)
    ours = prepare(pre, image)
    pixels = np.round(ours * list(pre.std) + list(pre.mean))
    expected = graphs.resize(pre, tf.constant(image)).numpy().astype(int)
    # A sum in another order may be rounded the other way where it is halfway between two values,
    # as it often is between the few pixels of a picture that is enlarged.
    assert np.abs(pixels - expected).max() <= 1
    assert np.mean(pixels != expected) <= 0.01
    np.testing.assert_array_equal(ours, pre.normalize(pixels))


def test_grey_pictures_stand_for_coloured_ones(rng, prepare):
    image = rng.integers(0, 256, (40, 50, 1)).astype(np.uint8)
    pre = photo_preprocessing(32)
    np.testing.assert_array_equal(prepare(pre, image), prepare(pre, np.repeat(image, 3, -1)))


@pytest.fixture
def classify(tmp_path):
    """The C++ program with builtin operators only."""
    probe = '#include "tensorflow/lite/interpreter.h"'
    found = subprocess.run(
        [*CXX, "-E", "-x", "c++", "-"], input=probe.encode(), capture_output=True, check=False
    )
    if found.returncode:
        pytest.skip("needs TensorFlow Lite's C++ library (libtensorflow-lite-dev)")
    library = ("-DWITHOUT_LCE", "-ltensorflow-lite")
    return compiled(DEPLOY / "classify.cc", tmp_path / "classify", *library)


@pytest.mark.slow
def test_devices_name_what_python_names(tmp_path, rng, classify):
    network = tf.keras.Sequential(
        [
            tf.keras.Input((16, 16, 3)),
            tf.keras.layers.Conv2D(8, 3, activation="relu"),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(4, activation="softmax"),
        ]
    )
    names = ("a cat", "dog", "horse", "ship")
    card = Card("small", {}, "none", names, photo_preprocessing(16))
    model, picture = tmp_path / "model.tflite", tmp_path / "picture.ppm"
    model.write_bytes(tf.lite.TFLiteConverter.from_keras_model(network).convert())
    card.append_to(model)
    with zipfile.ZipFile(model) as archive:
        archive.extractall(tmp_path)
    image = rng.integers(0, 256, (40, 30, 3)).astype(np.uint8)
    write_picture(picture, image)
    command = [classify, model, picture]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    input_ = card.preprocessing.normalize(card.preprocessing.resize(image))
    expected = network(input_[None]).numpy()[0]
    best = expected.argsort()[::-1][:3]
    answers = [line.rsplit(" ", 2) for line in shown.splitlines()]
    assert [name for name, _, _ in answers] == [names[i] for i in best]
    percents = [float(percent) for _, percent, _ in answers]
    np.testing.assert_allclose(percents, 100 * expected[best], atol=0.5)
