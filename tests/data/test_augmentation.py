"""From pictures to what models take."""

import larq_zoo
import numpy as np
import pytest
import tensorflow as tf
from larq_zoo.training.data import preprocess_image_bytes

from larq_insta.data import preprocessing as graphs
from larq_insta.data.augmentation import photo_crops
from larq_insta.data.preprocessing import photo_preprocessing
from larq_insta_runtime.preprocessing import Preprocessing


def photograph(rng, height, width):
    """A smooth picture with some noise, as files hold them."""
    small = rng.integers(0, 256, (6, 8, 3)).astype(np.float32)
    image = tf.image.resize(small, (height, width), "bicubic")
    return tf.saturate_cast(image + rng.normal(0, 6, image.shape), tf.uint8)


def test_evaluation_takes_the_centre(rng):
    pre = Preprocessing(size=8, channels=3, crop=0.5)
    image = np.zeros((32, 64, 3), np.uint8)
    image[8:24, 24:40] = 200  # the centre square of half the shorter side
    resized = graphs.resize(pre, tf.constant(image)).numpy()
    np.testing.assert_array_equal(resized, np.full((8, 8, 3), 200))


def test_pictures_of_the_right_size_are_left_alone(rng):
    image = tf.constant(rng.integers(0, 256, (8, 8, 1)), tf.uint8)
    assert graphs.resize(Preprocessing(size=8, channels=1), image) is image


def test_normalization(rng):
    images = rng.integers(0, 256, (2, 4, 4, 3)).astype(np.uint8)
    pre = Preprocessing(4, 3, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
    result = graphs.normalize(pre, tf.constant(images))
    assert result.dtype == tf.float32
    np.testing.assert_allclose(result, (images - [1, 2, 3.0]) / [4, 5, 6.0], rtol=1e-6)


def test_random_crops_are_uint8_parts(rng):
    image = tf.io.encode_png(tf.constant(rng.integers(100, 200, (50, 70, 3)), tf.uint8))
    pre = Preprocessing(16, 3)
    one, two, again = (graphs.random_crop(pre, image, (0, i)) for i in (1, 2, 1))
    assert one.shape == (16, 16, 3)
    assert one.dtype == tf.uint8
    assert one.numpy().min() >= 100
    np.testing.assert_array_equal(one, again)
    assert (one != two).numpy().any()


@pytest.mark.parametrize("shape", [(375, 500), (501, 333), (224, 224), (90, 120)])
def test_evaluation_is_larq_zoos(rng, shape):
    image = photograph(rng, *shape)
    pre = photo_preprocessing(224, resampling="bicubic")
    ours = graphs.normalize(pre, graphs.resize(pre, image))
    theirs = larq_zoo.preprocess_input(image.numpy())
    inside = np.abs(theirs * pre.std + pre.mean - 127.5) <= 127.5  # theirs may overshoot
    half_a_pixel = 0.5 / min(pre.std)
    assert np.abs(ours - theirs)[inside].max() <= half_a_pixel + 1e-5
    assert inside.mean() > 0.9


def test_a_file_is_evaluated_as_larq_zoo_does(rng, monkeypatch):
    monkeypatch.setattr(graphs, "_DCT", "")  # Larq Zoo decodes fast, not as devices do
    file = tf.io.encode_jpeg(photograph(rng, 375, 500), quality=95)
    pre = photo_preprocessing(224, resampling="bicubic")
    ours = graphs.normalize(pre, graphs.resize(pre, graphs.decode(pre, file)))
    difference = np.abs(ours - preprocess_image_bytes(file)) * np.array(pre.std)
    assert np.quantile(difference, 0.99) <= 0.51  # they decode colours at the crop's edge anew


@pytest.mark.parametrize("encode", [tf.io.encode_jpeg, tf.io.encode_png])
def test_a_part_of_a_file_is_that_of_the_picture(rng, encode):
    data = encode(photograph(rng, 120, 160))
    pre = Preprocessing(16, 3)
    part = graphs.decode_part(pre, data, tf.constant([16, 32, 64, 80])).numpy().astype(int)
    whole = graphs.decode(pre, data).numpy().astype(int)[16:80, 32:112]
    assert part.shape == whole.shape
    inner = np.abs(part - whole)[1:-1, 1:-1]
    assert inner.max() <= 1


@pytest.mark.slow
def test_random_parts_are_drawn_as_larq_zoo_draws_them():
    # A picture whose colours are its coordinates tells which part was taken.
    y, x = np.mgrid[0:200, 0:250].astype(np.uint8)
    data = tf.io.encode_png(np.stack([y, x, np.zeros_like(x)], -1))
    pre = Preprocessing(32, 3)
    parts = [graphs.random_crop(pre, data, (3, i)).numpy().astype(float) for i in range(300)]
    heights = [part[-1, 0, 0] - part[0, 0, 0] for part in parts]
    widths = [part[0, -1, 1] - part[0, 0, 1] for part in parts]
    shares = np.multiply(heights, widths) / (200 * 250)
    ratios = np.divide(widths, heights)
    assert 0.06 < shares.min() < 0.15
    assert shares.max() > 0.8
    assert 0.7 < ratios.min() < 0.85
    assert 1.2 < ratios.max() < 1.4


def test_a_picture_without_a_fitting_part_gives_its_centre(rng):
    image = tf.constant(rng.integers(0, 256, (10, 400, 3)), tf.uint8)  # too flat for any part
    pre = photo_preprocessing(224, resampling="bicubic")
    taken = graphs.random_crop(pre, tf.io.encode_png(image), (0, 1))
    np.testing.assert_array_equal(taken, graphs.resize(pre, image))


def test_crops_are_mirrored_half_of_the_time(rng):
    data = tf.io.encode_png(np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (100, 1, 3)))
    augment = photo_crops(Preprocessing(16, 3))
    mirrored = [bool((i := augment(data, (0, s)))[8, 0, 0] > i[8, -1, 0]) for s in range(100)]
    assert 30 < sum(mirrored) < 70
