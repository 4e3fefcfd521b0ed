"""Seeds, and the small trained model that several tests look at."""

import csv
import gc
import importlib.util
import io
import os
import re
import select
import shutil
import sys
import time
import warnings
import zipfile
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import larq_insta  # noqa: F401, I001  (before TensorFlow: it chooses Keras 2)
import h5py
import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from larq_insta import InstaPReLU, InstaThreshold, data, models
from larq_insta.cli import cli
from larq_insta.zoo import resnet18
from larq_insta_runtime import progress

TINY = ("InstaMobileNetV1", "--filters", "4,4", "--insta-blocks", "all")
"""The network of `tiny` for the command line."""
BINARY = {
    "padding": "same",
    "pad_values": 1.0,
    "use_bias": False,
    "input_quantizer": "ste_sign",
    "kernel_quantizer": "ste_sign",
    "kernel_constraint": "weight_clip",
}
"""Arguments of a binary convolution of Larq's."""
FIXTURES = Path(__file__).parent / "fixtures"
FASHION = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package `dataset-fashion-mnist` has its files."""

# No deadline, as first calls trace graphs; few examples, as every one runs TensorFlow.
hypothesis.settings.register_profile(
    "larq_insta", deadline=None, max_examples=20, derandomize=True, database=None
)
hypothesis.settings.load_profile("larq_insta")


# TensorFlow's graphs are millions of objects that live long; looking through them again and again
# takes a fifth of the time.
gc.freeze()
gc.set_threshold(100_000, 50, 50)


@pytest.fixture(autouse=True)
def _seeds():
    tf.keras.utils.set_random_seed(1)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.hookimpl(tryfirst=True)  # before those that nobody asked for are left out
def pytest_collection_modifyitems(items):
    """Of a test with `quick(n)`, n of its cases, spread over all, are quick, the others slow."""
    cases = defaultdict(list)
    for item in items:
        mark = item.get_closest_marker("quick")
        if mark:
            cases[item.parent, item.originalname, mark.args[0]].append(item)
    for (_, _, quick), alike in cases.items():
        kept = {n * len(alike) // quick for n in range(quick)}
        for number, item in enumerate(alike):
            if number not in kept:
                item.add_marker("slow")


def run(*arguments, code=0, group=cli):
    """Runs a command and returns what it printed."""
    result = CliRunner().invoke(group, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def module(path):
    """A file of the project that belongs to no package, such as `studies/plus/study.py`."""
    path = Path(__file__).parents[1] / path
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # where dataclasses look for their annotations
    spec.loader.exec_module(found)
    return found


def instance_aware(model):
    """Names of the blocks with instance-aware thresholds, and with PReLUs."""
    return [
        {layer.name.rsplit("_", 1)[0] for layer in model.layers if isinstance(layer, kind)}
        for kind in (InstaThreshold, InstaPReLU)
    ]


def assert_refused(call, message, folder, monkeypatch):
    """With an error that says so, in one line; `.*` in the message stands for anything.

    Nothing may be written into the folder, an empty one, in which it is called.
    """
    monkeypatch.chdir(folder)
    with pytest.raises((ValueError, TypeError)) as error:
        call()
    assert not list(folder.iterdir())
    pattern = ".*".join(re.escape(part) for part in message.split(".*"))
    lines = str(error.value).splitlines()  # Keras adds its own around those of calls
    assert any(re.search(pattern, line) for line in lines), lines


def log(folder):
    """All rows of the log but the time, which no two runs share."""
    with (folder / "log.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def saved_weights(path):
    """The arrays of a `.keras` file by their place, without building its model."""
    arrays = {}

    def keep(name, part):
        if isinstance(part, h5py.Dataset):
            arrays[name] = part[()]

    with zipfile.ZipFile(path) as archive:
        h5py.File(io.BytesIO(archive.read("model.weights.h5"))).visititems(keep)
    return arrays


def assert_same_weights(first, second):
    """Of two `.keras` files, bit for bit."""
    first, second = saved_weights(first), saved_weights(second)
    assert first.keys() == second.keys()
    for name, weight in first.items():
        np.testing.assert_array_equal(weight, second[name], err_msg=name)


def arrays(batches):
    """Pictures and labels of all batches."""
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)


@pytest.fixture
def folder(tmp_path, rng):
    """Ten random pictures of each of two classes, of different sizes and kinds."""
    root = tmp_path / "pictures"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(10):
            image = rng.integers(0, 256, (40 + i, 60 - i, 3)).astype(np.uint8)
            write, suffix = [(tf.io.encode_png, "png"), (tf.io.encode_jpeg, "JPG")][i % 2]
            (root / name / f"{i}.{suffix}").write_bytes(write(image).numpy())
    (root / "README.txt").write_text("not a class")
    (root / "cat" / "notes.txt").write_text("not a picture")
    return root


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """Folder of a two-epoch training of a tiny model on digits, by the command line."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with without_tracing():
        run("train", *TINY, "--epochs", 2, "--batch-size", 400, "--output", folder)
    return folder


@pytest.fixture(scope="session")
def converted(trained, tmp_path_factory) -> Path:
    """The `.tflite` file of `trained`."""
    path = tmp_path_factory.mktemp("converted") / "model.tflite"
    run("convert", trained / "best.keras", path)
    return path


def prepare_clothes(folder, train, test):
    """Prepares Fashion-MNIST's first pictures, where TensorFlow Datasets then finds all it has."""
    with pytest.MonkeyPatch.context() as patch:
        module = "tensorflow_datasets.image_classification.mnist"
        patch.setattr(f"{module}._TRAIN_EXAMPLES", train)
        patch.setattr(f"{module}._TEST_EXAMPLES", test)
        data.load("fashion_mnist", data_dir=str(folder), manual_dir=str(FASHION))
    shutil.rmtree(folder / "downloads")
    return folder


@pytest.fixture(scope="session")
def few_clothes(tmp_path_factory):
    """Fashion-MNIST with a tenth of its pictures, where TensorFlow Datasets finds it."""
    return prepare_clothes(tmp_path_factory.mktemp("few_clothes"), 6_000, 1_000)


@pytest.fixture
def terminal(monkeypatch):
    """A terminal on which progress is shown, at each step; called, it gives what was written."""
    ours, theirs = pytest.importorskip("pty").openpty()
    stream = os.fdopen(theirs, "w", encoding="ascii")
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream))
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN", 0)

    def written():
        text = b""
        while select.select([ours], [], [], 0.2)[0]:
            text += os.read(ours, 1 << 16)
        return text.decode()

    yield written
    stream.close()
    os.close(ours)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when they are told to."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def tiny(name="InstaMobileNetV1", **arguments):
    """The smallest network for digits: one block of a MobileNet, or one stage of a ResNet."""
    settings = {"input_shape": (8, 8, 1), "num_classes": 10, "stem": "small"}
    settings["filters"] = (4,) if "18" in name else (4, 4)
    if name.startswith("Insta"):
        settings["insta_blocks"] = "all"
    return models.get(name)(**{**settings, **arguments})


@pytest.fixture(scope="module")
def short_stages():
    """Two blocks a stage of a ResNet instead of four; two have all that four do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resnet18, "BLOCKS_PER_STAGE", 2)
        yield


@contextmanager
def without_tracing():
    """Runs eagerly what always asks for graphs; in short trainings tracing costs the most."""
    tf.config.run_functions_eagerly(True)
    try:
        with warnings.catch_warnings():
            # That `tf.data` has no part in it is meant so.
            warnings.filterwarnings("ignore", "Even though the `tf.config.experimental_run_func")
            yield
    finally:
        tf.config.run_functions_eagerly(False)


def randomize(model, rng, scale=0.1):
    """Moves every weight that starts at a constant away from it."""
    for weight in model.weights:
        if "kernel" not in weight.name or "branch_expand" in weight.name:
            noise = rng.normal(0, scale, weight.shape)
            noise = np.abs(noise) if "variance" in weight.name else noise
            weight.assign_add(noise.astype(weight.dtype.as_numpy_dtype))
