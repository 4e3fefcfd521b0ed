"""Pillow and NumPy prepare pictures as TensorFlow does."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from larq_insta.data import fetching
from larq_insta.data import preprocessing as graphs
from larq_insta.lite import pictures
from larq_insta.lite.preprocessing import Preprocessing

ROUNDING = 0.001
"""Of 255: both sum in float32, in another order, which tells where a pixel lies half way."""
MOST_UNEQUAL = 0.003
"""Share of a photograph's pixels that lie so."""


def photograph(seed, height, width, channels=3):
    """A smooth picture with some noise, as files hold them."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (6, 8, channels)).astype(np.float32)
    image = tf.image.resize(small, (height, width), "bicubic")
    return tf.saturate_cast(image + rng.normal(0, 6, image.shape), tf.uint8).numpy()


def unrounded(pre, image):
    """TensorFlow's pixels before they become whole."""
    centre = tf.image.crop_to_bounding_box(image, *tf.unstack(graphs._centre(pre, image.shape)))
    size = (pre.size, pre.size)
    if pre.resampling == "bilinear":
        return tf.image.resize(centre, size, antialias=True)
    return tf.clip_by_value(tf.raw_ops.ResizeBicubic(images=centre[None], size=size)[0], 0, 255)


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
    image = photograph(seed, height, width, channels)
    exact = unrounded(pre, image)
    for found in (pre.resize(image), graphs.resize(pre, tf.constant(image))):
        assert found.shape == (size, size, channels)
        np.testing.assert_allclose(found, exact, rtol=0, atol=0.5 + ROUNDING)


@pytest.mark.parametrize("resampling", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("shape", "size"), [((375, 500), 224), ((900, 1200), 224), ((28, 28), 224), ((100, 90), 45)]
)
def test_photographs_are_resized_as_tensorflow_does(shape, size, resampling):
    image = photograph(0, *shape)
    pre = graphs.photo_preprocessing(size, resampling=resampling)
    found, expected = pre.resize(image), graphs.resize(pre, tf.constant(image)).numpy()
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= MOST_UNEQUAL


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_files_are_decoded_as_in_training(tmp_path, suffix, channels):
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(photograph(1, 120, 160)).save(path)
    contents = fetching.fetch(tf.constant(str(path)), channels)
    expected = graphs.decode(Preprocessing(8, channels), contents)
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
