"""Pillow and NumPy prepare pictures as TensorFlow does."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from larq_insta.data import preprocessing as graphs
from larq_insta.lite import pictures
from larq_insta.lite.preprocessing import Preprocessing

MOST_UNEQUAL = 0.003
"""Share of pixels that may differ, by 1 of 255: both sum in float32, in another order."""


def photograph(seed, height, width, channels=3):
    """A smooth picture with some noise, as files hold them."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 8, channels)).astype(np.float32)
    image = tf.image.resize(small, (height, width), "bicubic")
    return tf.saturate_cast(image + rng.normal(0, 6, image.shape), tf.uint8).numpy()


def assert_as_tensorflow(pre, image):
    found = pre.resize(image).astype(int)
    expected = graphs.resize(pre, tf.constant(image)).numpy()
    difference = np.abs(found - expected)
    assert found.shape == (pre.size, pre.size, pre.channels)
    assert difference.max() <= 1
    # A pixel may always differ: small pictures have few.
    assert (difference > 0).sum() <= max(1, MOST_UNEQUAL * difference.size)


@given(
    st.integers(0, 9),
    st.integers(2, 300),
    st.integers(2, 300),
    st.integers(1, 300),
    st.sampled_from([1, 3]),
    st.sampled_from([1.0, 0.875, 0.7]),
    st.sampled_from(["bilinear", "bicubic"]),
)
def test_any_picture_is_resized_as_tensorflow_does(
    seed, height, width, size, channels, crop, resampling
):
    pre = Preprocessing(size, channels, crop, resampling=resampling)
    assert_as_tensorflow(pre, photograph(seed, height, width, channels))


@pytest.mark.parametrize("resampling", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("shape", "size"), [((375, 500), 224), ((900, 1200), 224), ((28, 28), 224), ((100, 90), 45)]
)
def test_photographs_are_resized_as_tensorflow_does(shape, size, resampling):
    image = photograph(0, *shape)
    assert_as_tensorflow(graphs.photo_preprocessing(size, resampling=resampling), image)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_files_are_decoded_as_in_training(tmp_path, suffix, channels):
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(photograph(1, 120, 160)).save(path)
    expected = graphs.decode(Preprocessing(8, channels), tf.io.read_file(str(path)))
    np.testing.assert_array_equal(pictures.read(path, channels), expected)


def test_normalization_is_tensorflows(rng):
    images = rng.integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    pre = graphs.photo_preprocessing(8)
    found, expected = pre.normalize(images), graphs.normalize(pre, images)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_reading_is_all_in_order(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(photograph(2, 50, 60)).save(path)
    pre = graphs.photo_preprocessing(24)
    expected = pre.normalize(pre.resize(pictures.read(path, 3)))
    np.testing.assert_array_equal(pre.read(path), expected)
