"""Pictures in folders in grey, for models of one channel."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from larq_insta import data
from larq_insta.data.preprocessing import photo_preprocessing
from larq_insta.lite.errors import InputError
from larq_insta.lite.preprocessing import Preprocessing


@pytest.fixture
def coloured(tmp_path, rng):
    """Pictures of all kinds of files, in colours."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(10):
            image = Image.fromarray(rng.integers(0, 256, (20, 30, 3)).astype(np.uint8))
            image.save(tmp_path / name / f"{i}.{('png', 'jpg', 'bmp', 'webp')[i % 4]}")
    return str(tmp_path)


def test_folders_are_read_in_grey(coloured):
    loaded = data.load(coloured, image_size=16, channels=1)
    assert loaded.input_shape == (16, 16, 1)
    images, _ = loaded.test_pictures(4, normalized=False)
    for (path, _), image in zip(loaded.test.examples.take(4), images, strict=True):
        single = loaded.preprocessing.read(Path(path.numpy().decode()))
        differences = np.abs(loaded.preprocessing.normalize(image) - single) * 127.5
        assert differences.max() <= 1.01  # resized by TensorFlow and by Pillow
    pictures, _ = next(iter(loaded.training_batches(4, 0, range(1))))
    assert pictures.shape == (4, 16, 16, 1)


def test_folders_are_seen_as_a_model_that_is_trained_further_does(coloured):
    like = Preprocessing(28, 1, mean=(30.0,), std=(60.0,))
    assert data.load(coloured, like=like).preprocessing == like
    assert data.load(coloured, like=like, image_size=28).preprocessing == like
    assert data.load(coloured, like=like, image_size=240).preprocessing == photo_preprocessing(
        240, 1
    )
    assert data.load(coloured, like=like, channels=3).preprocessing.channels == 3
    assert data.load("digits", like=like).preprocessing.size == 8


def test_caches_of_grey_and_coloured_pictures_are_apart(coloured, tmp_path_factory):
    cache = str(tmp_path_factory.mktemp("cache"))
    for channels in (1, 3):
        loaded = data.load(coloured, image_size=16, channels=channels, cache=cache)
        pictures, _ = next(iter(loaded.pictures(loaded.train, 4)))
        assert pictures.shape[-1] == channels


@pytest.mark.parametrize(
    ("name", "channels", "words"),
    [
        ("digits", 3, "those of digits have 1: leave --channels 3 out"),
        ("digits", 2, r"must be 1 \(grey\) or 3 \(colours\); got 2"),
    ],
)
def test_other_channels_are_refused(name, channels, words):
    with pytest.raises(InputError, match=words):
        data.load(name, channels=channels)
