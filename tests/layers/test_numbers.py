"""What numbers come out: whatever else is in the batch, however large or small they are."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import larq_insta
from larq_insta import models, runtime, statistics
from larq_insta.zoo import pretrained
from larq_insta_runtime.errors import InputError

LAYERS = {
    "InstaThreshold": larq_insta.InstaThreshold,
    "with batch statistics": lambda **k: larq_insta.InstaThreshold(normalization="statistic", **k),
    "with a branch": lambda **k: larq_insta.InstaThreshold(reduction_ratio=2, **k),
    "InstaPReLU": larq_insta.InstaPReLU,
    "InstaSign": larq_insta.InstaSign,
    "RPReLU": larq_insta.RPReLU,
    "StaticThreshold": larq_insta.StaticThreshold,
}


@pytest.fixture
def images(rng):
    return rng.normal(size=(9, 28, 28, 1)).astype(np.float32)


def row_by_row(model, images):
    return np.concatenate([model.predict(image[None]) for image in images])


@pytest.mark.parametrize("processes", [0, 2])
def test_a_row_of_a_converted_file_is_the_row_alone_bit_for_bit(images, processes):
    model = runtime.open_model(Path("fashion_mnist"), processes)
    np.testing.assert_array_equal(model.predict(images), row_by_row(model, images))


@pytest.mark.slow
def test_a_row_of_a_keras_model_is_the_row_alone(images):
    model = runtime.KerasModel(pretrained.checkpoint("fashion_mnist"))
    # Products of matrices of other heights add in another order: some units in the last place.
    np.testing.assert_allclose(model.predict(images), row_by_row(model, images), atol=1e-6)


@pytest.mark.parametrize("statistic", ["mean", "variance", "skewness", "cube_mean"])
def test_statistics_of_a_row_are_those_of_the_row_alone_bit_for_bit(statistic, rng):
    x = rng.normal(size=(17, 9, 7, 5)).astype(np.float32)
    compute = statistics.get(statistic)
    alone = np.concatenate([compute(tf.constant(row[None])) for row in x])
    np.testing.assert_array_equal(compute(tf.constant(x)), alone)


@pytest.mark.parametrize("scale", [1e4, 1e11, 1e-20, 1e-40])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_extreme_activations_stay_finite_in_both_directions(layer, scale, rng):
    layer = layer()
    signs = rng.choice([-1, 1], size=(2, 4, 4, 6))
    signs[1] = 1
    x = tf.constant(signs * scale, tf.float32)
    for training in (True, False):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=training)
        assert np.all(np.isfinite(y))
        assert np.all(np.isfinite(tape.gradient(y, x)))


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_half_precision_saturates_instead_of_overflowing(layer, rng):
    layer = layer(dtype="mixed_float16")
    x = tf.constant(rng.choice([-6e4, 6e4], size=(2, 4, 4, 6)), tf.float16)
    for training in (True, False):
        y = layer(x, training=training)
        assert y.dtype == tf.float16
        assert np.all(np.isfinite(y))


@pytest.mark.slow
def test_cubes_beyond_float32_are_a_named_error(images, tmp_path):
    model = runtime.KerasModel(pretrained.checkpoint("fashion_mnist"))
    model.network.get_layer("stage2_block1_threshold").beta.assign(np.full(16, np.nan))
    with pytest.raises(InputError, match="answers must be finite; got nan"):
        model.predict(images)


# Sums of as many float32 cubes, one after another, lose some digits.
@pytest.mark.parametrize(("side", "tolerance"), [(112, 2e-5), (1024, 1e-3)])
def test_a_large_map_has_the_mean_of_its_cubes(side, tolerance, rng):
    x = rng.normal(1, 1, size=(1, side, side, 2)).astype(np.float32)
    expected = np.mean(x.astype(np.float64) ** 3, axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(statistics.cube_mean(tf.constant(x)), expected, rtol=tolerance)


@pytest.mark.slow
def test_a_model_takes_large_batches_and_pictures(rng):
    model = models.InstaResNet18(
        input_shape=(None, None, 1), stem="small", include_top=False, filters=(4, 8)
    )
    for shape in ((4096, 8, 8, 1), (1, 512, 512, 1), (1, 9, 300, 1)):
        y = model.predict_on_batch(rng.normal(size=shape).astype(np.float32))
        assert y.shape == (shape[0], shape[1] // 2 + shape[1] % 2, shape[2] // 2, 8)
        assert np.all(np.isfinite(y))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights():
    made = []
    for _ in range(2):
        tf.keras.utils.set_random_seed(3)
        model = models.InstaResNet18(input_shape=(32, 32, 3), filters=(4, 8))
        made.append(model.get_weights())
    for a, b in zip(*made, strict=True):
        np.testing.assert_array_equal(a, b)
