"""What layers say to arguments and inputs that they cannot use, and what odd maps they can."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_refused

import larq_insta
from larq_insta import statistics

MAPS = np.ones((2, 4, 4, 6), np.float32)


INTEGERS = MAPS.astype(np.int32)


def threshold(**arguments):
    return lambda: larq_insta.InstaThreshold(**arguments)


def given(*shape):
    """A PReLU's call with a statistic of a shape."""
    return lambda: larq_insta.InstaPReLU(statistic=None)(MAPS, statistic=np.zeros(shape))


FUNCTIONS = {
    "threshold's statistic": (lambda: larq_insta.InstaThreshold("median"), "got 'median'"),
    "threshold's normalization": (
        lambda: larq_insta.InstaThreshold(normalization="layer"), "got 'layer'"),
    "threshold's bound": (lambda: larq_insta.InstaThreshold(statistic_bound=0), "got 0"),
    "threshold's NaN bound": (
        lambda: larq_insta.InstaThreshold(statistic_bound=float("nan")), "got nan"),
    "threshold's ratio": (lambda: larq_insta.InstaThreshold(reduction_ratio=0), "got 0"),
    "threshold's broken ratio": (threshold(reduction_ratio=2.5), "whole number; got 2.5"),
    "threshold's NaN ratio": (threshold(reduction_ratio=float("nan")), "whole number; got nan"),
    "threshold's ratio in words": (threshold(reduction_ratio="4"), "whole number; got '4'"),
    "threshold's bound in words": (threshold(statistic_bound="x"), "or positive; got 'x'"),
    "threshold's list of statistics": (threshold(statistic=["mean"]), "got ['mean']"),
    "threshold's gradient": (threshold(stop_gradient="no"), "`stop_gradient` .* got 'no'"),
    "threshold's return": (threshold(return_statistic="no"), "`return_statistic` .* got 'no'"),
    "threshold's regularizer": (threshold(alpha_regularizer="l3"), "`alpha_reg.* got 'l3'"),
    "beta's regularizer": (
        lambda: larq_insta.StaticThreshold(beta_regularizer="l3"), "`beta_reg.* got 'l3'"),
    "threshold's type": (threshold(dtype="int32"), "floating-point numbers; got int32"),
    "threshold of integers": (
        lambda: larq_insta.InstaThreshold()(INTEGERS), "floating-point numbers; got int32"),
    "static threshold of pixels": (
        lambda: larq_insta.StaticThreshold()(MAPS.astype(np.uint8)), "got uint8"),
    "RPReLU of complex numbers": (
        lambda: larq_insta.RPReLU()(MAPS.astype(np.complex64)), "got complex64"),
    "PReLU of truth values": (lambda: larq_insta.InstaPReLU()(MAPS > 0), "got bool"),
    "sign of integers": (lambda: larq_insta.InstaSign()(INTEGERS), "got int32: cast"),
    "threshold of empty maps": (
        lambda: larq_insta.InstaThreshold()(MAPS[:, :0]), "pixel and channel; got (2, 0, 4, 6)"),
    "RPReLU of no channels": (
        lambda: larq_insta.RPReLU()(MAPS[..., :0]), "one pixel and channel; got (2, 4, 4, 0)"),
    "threshold's combination": (
        lambda: larq_insta.InstaThreshold(reduction_ratio=2, branch_combination="mix"), "'mix'"),
    "threshold's initializer": (
        lambda: larq_insta.InstaThreshold(alpha_initializer="none such"), "none such"),
    "threshold's input": (
        lambda: larq_insta.InstaThreshold()(tf.keras.Input((4, 4, None))), "(None, 4, 4, None)"),
    "vectors without channels": (lambda: larq_insta.StaticThreshold()(np.ones(3)), "(3,)"),
    "threshold's other width": (
        lambda: [layer := larq_insta.InstaThreshold(), layer(MAPS), layer(MAPS[..., :3])], "6"),
    "PReLU's parameters": (lambda: larq_insta.InstaPReLU(instance_aware=("beta",)), "beta"),
    "PReLU's parameters twice": (
        lambda: larq_insta.InstaPReLU(["zeta", "zeta"]), "each once; got ['zeta', 'zeta']"),
    "PReLU's number of parameters": (lambda: larq_insta.InstaPReLU(3), "each once; got 3"),
    "PReLU with others' statistics": (given(5, 1, 1, 6), "got shape (5, 1, 1, 6)"),
    "PReLU with a map": (given(2, 4, 4, 6), "got shape (2, 4, 4, 6)"),
    "PReLU with a vector": (given(2, 6), "got shape (2, 6)"),
    "PReLU's normalization": (lambda: larq_insta.InstaPReLU(normalization="batch"), "'batch'"),
    "PReLU without statistic": (
        lambda: larq_insta.InstaPReLU(statistic=None)(MAPS), "must be called with a statistic"),
    "PReLU with two": (
        lambda: larq_insta.InstaPReLU()(MAPS, statistic=MAPS), "without a statistic; got one"),
    "PReLU with a narrow statistic": (
        lambda: larq_insta.InstaPReLU(statistic=None)(MAPS, statistic=MAPS[:, :1, :1, :2]), "2"),
    "PReLU's input": (lambda: larq_insta.RPReLU()(tf.keras.Input((None,))), "(None, None)"),
    "turn's input": (lambda: larq_insta.HalfTurn()(np.ones((2, 6))), "got (2, 6)"),
    "sign's threshold": (
        lambda: larq_insta.InstaSign(larq_insta.InstaThreshold(return_statistic=True)),
        "got return_statistic=True"),
    "sign's threshold in words": (lambda: larq_insta.InstaSign("mean"), "got 'mean'"),
    "sign's threshold unmade": (
        lambda: larq_insta.InstaSign(larq_insta.InstaThreshold), "or a layer, .* got <class"),
    "sign's input": (lambda: larq_insta.InstaSign()(tf.keras.Input((4, 4, None))), "None"),
    "a statistic": (lambda: statistics.get("kurtosis"), "got 'kurtosis'"),
    "no statistic": (lambda: statistics.get(None), "got None"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_layers_name_the_value_that_they_cannot_use(call, message, tmp_path, monkeypatch):
    assert_refused(call, message, tmp_path, monkeypatch)


@pytest.mark.parametrize("shape", [(0, 4, 4, 6), (2, 1, 1, 6), (2, 4, 4, 1), (1, 7, 1, 3)])
@pytest.mark.parametrize(
    "layer",
    [
        larq_insta.InstaThreshold,
        lambda: larq_insta.InstaThreshold("skewness", normalization="statistic"),
        lambda: larq_insta.InstaThreshold(reduction_ratio=4),
        lambda: larq_insta.InstaPReLU(instance_aware=("gamma", "slope", "zeta")),
        larq_insta.InstaSign,
        larq_insta.RPReLU,
        larq_insta.HalfTurn,
    ],
)
def test_maps_of_odd_shapes_stay_finite(layer, shape, rng):
    y = layer()(rng.normal(size=shape).astype(np.float32))
    assert y.shape == shape
    assert np.all(np.isfinite(y))
