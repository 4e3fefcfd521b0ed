"""Thresholds next to a sum of signs, on whose side Larq Compute Engine errs by itself."""

from contextlib import nullcontext

import larq as lq
import numpy as np
import pytest
from networks import L, assert_equal, checked, classifier, pictures, q

from larq_insta.conversion import lowering, ties


def network(normalization, **settings):
    """A binary convolution that gives bits: of 72 products, so that sums are even."""
    settings = {"filters": 40, "padding": "valid", **settings}
    return classifier(lambda x: q()(normalization(q(**settings)(x))))


def near(sums, below, **settings):
    """Thresholds by as much below sums, on which no rounding may move them."""
    norm = L.BatchNormalization(**settings)
    model = network(norm)
    norm.moving_mean.assign(np.asarray(sums, np.float32))
    norm.moving_variance.assign(np.ones(40))
    norm.beta.assign(np.full(40, below))
    if norm.scale:
        norm.gamma.assign(np.where(np.arange(40) % 3, 1, -1))
    return model


SUMS = 2 * np.arange(-20, 20)


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("below", [-1e-6, -1e-7, 0.0, 1e-7, 1e-6])
def test_signs_are_keras_own_next_to_every_sum(scale, below):
    report = checked(near(SUMS, below, scale=scale))
    assert_equal(report, 2)
    assert report.signs == 8 * (6 * 6 * 8 + 4 * 4 * 40)


def test_by_itself_the_engine_errs(monkeypatch):
    monkeypatch.setattr(lowering, "settled", lambda model: nullcontext())
    assert checked(near(SUMS, -1e-6)).flips > 100


def test_a_model_is_as_before():
    model = near(SUMS, -1e-7)
    before = model.get_weights()
    lowering.lower(model)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_pictures_that_are_alike_do_not_make_ties_differences():
    """The largest number of a channel may then be tiny."""
    model = near(np.zeros(40), -1e-6)
    images = np.repeat(pictures(model, 1), 8, axis=0)
    convolution = model.layers[1]
    signs = lq.math.sign(images[:1])
    kernel = np.repeat(signs[0, :3, :3, :, None], 40, -1)
    kernel[:, :, ::2] *= -1  # half of the products: in the first position the sum is zero
    convolution.set_weights([kernel])
    assert_equal(checked(model), 2)


@pytest.mark.parametrize(
    ("layer", "known"),
    [
        (q(), True),
        (q(padding="valid", pad_values=0.0), True),
        (q(pad_values=0.0), False),
        (q(activation="relu"), False),
        (q(groups=2), False),
        (q(kernel_quantizer=None), False),
        (L.Conv2D(8, 3), False),
    ],
)
def test_only_sums_of_whole_signs_are_told_by_whole_numbers(layer, known):
    assert ties.sums_signs(layer) == known
