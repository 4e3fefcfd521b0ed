"""No picture, however far from those of the training, makes a model's answers be no numbers."""

from itertools import product

import numpy as np
import pytest
import tensorflow as tf
from conftest import randomize

from larq_insta import models
from larq_insta.conversion.folding import fold
from larq_insta.layers.channelwise import InstanceAware

SMALL = {"input_shape": (8, 8, 3), "stem": "small", "num_classes": 3, "filters": (4,)}
FORMS = {
    "base": {},
    "plus": {"plus": True},
    "slopes": {"prelu": {"instance_aware": ("gamma", "slope", "zeta")}},
    "nothing reused": {"reuse_statistics": False, "prelu": {"normalization": None}},
}


def model_of(rng, alpha=0.5, **arguments):
    """With statistics that matter as much as they do in trained models, and more."""
    tf.keras.utils.set_random_seed(0)
    model = models.InstaResNet18(**SMALL, insta_blocks="all", **arguments)
    for weight in model.trainable_weights:
        if "alpha" in weight.name or "branch_expand" in weight.name:
            weight.assign(rng.normal(0, alpha, weight.shape))
    return model


def far_pictures(rng, largest=1e4):
    shape = (3, 8, 8, 3)
    pictures = [rng.normal(0, scale, shape) for scale in (1, 10, 100, largest)]
    pictures += [np.full(shape, value) for value in (0, 1, -1, largest, -largest)]
    pictures += [rng.choice([-largest, largest], shape), (rng.random(shape) < 0.02) * largest]
    return np.concatenate(pictures).astype(np.float32)


NORMALIZATIONS = ("statistic", "batch", None)
STATISTICS = ("cube_mean", "variance", "mean", "skewness")


@pytest.mark.quick(6)
@pytest.mark.parametrize(
    ("statistic", "normalization", "form"),
    [
        *product(STATISTICS, NORMALIZATIONS, ["base"]),
        *product(["cube_mean"], NORMALIZATIONS, ["plus", "nothing reused"]),
        *product(["cube_mean", "variance", "mean"], NORMALIZATIONS, ["slopes"]),
    ],
)
def test_answers_are_numbers(rng, statistic, normalization, form):
    threshold = {"statistic": statistic, "normalization": normalization}
    model = model_of(rng, threshold=threshold, **FORMS[form])
    assert np.all(np.isfinite(model(far_pictures(rng), training=False)))


def test_answers_are_numbers_in_mobile_nets(rng):
    threshold = {"normalization": "batch"}
    model = models.InstaMobileNetV1(
        **{**SMALL, "filters": (4, 4, 8, 8)}, insta_blocks="all", threshold=threshold
    )
    randomize(model, rng, 0.5)
    assert np.all(np.isfinite(model(far_pictures(rng), training=False)))


@pytest.mark.quick(1)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_answers_are_numbers_in_mixed_precision(rng, normalization):
    policy = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = model_of(rng, threshold={"normalization": normalization})
    finally:
        tf.keras.mixed_precision.set_global_policy(policy)
    pictures = far_pictures(rng, largest=1e3)  # convolutions must stay within float16
    for training in (True, False):
        assert np.all(np.isfinite(model(pictures, training=training)))


def test_a_bound_that_is_given_stays(rng):
    given = model_of(rng, threshold={"normalization": "batch", "statistic_bound": None})
    assert {layer.statistic_bound for layer in instance_aware(given)} == {None}
    default = model_of(rng, threshold={"normalization": "batch"})
    assert {layer.statistic_bound for layer in instance_aware(default) if layer.statistic} == {512}


def instance_aware(model):
    return [layer for layer in model.layers if isinstance(layer, InstanceAware)]


@pytest.mark.quick(2)
@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_bounds_of_normalized_inputs_fold_to_the_same_answers(rng, statistic, plus):
    threshold = {"normalization": "batch", "statistic": statistic, "statistic_bound": 1e6}
    model = model_of(rng, threshold=threshold, plus=plus)
    randomize(model, rng, 0.3)
    pictures = rng.normal(0, 2, (6, 8, 8, 3)).astype(np.float32)
    bound_half(model, pictures)
    np.testing.assert_allclose(fold(model)(pictures), model(pictures), atol=1e-4)


def bound_half(model, pictures):
    """Cuts off half of what the statistics of these pictures are."""
    layers = [layer for layer in instance_aware(model) if layer.statistic]
    found = tf.keras.Model(model.input, [layer.output[1] for layer in layers])(pictures)
    for layer, statistic in zip(layers, found, strict=True):
        layer.statistic_bound = float(np.median(np.abs(statistic)))
