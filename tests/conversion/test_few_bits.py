"""Convolutions of 2-bit inputs become binary ones, and large kernels are written out."""

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from networks import LOWER, L, assert_equal, checked, classifier, q, side_by_side

from larq_insta.conversion.exporting import kernels_quantized
from larq_insta.layers import few_bits
from larq_insta_runtime.graph import Graph


def bits(count, **kwargs):
    return q(input_quantizer=lq.quantizers.DoReFa(count), **kwargs)


@lq.utils.register_keras_custom_object
@lq.utils.set_precision(1)
def scaled(x):
    """A sign times one number of each filter, as XNOR-Net's."""
    return lq.math.sign(x) * tf.reduce_mean(tf.abs(x), [0, 1, 2], keepdims=True)


def networks():
    """With zeros around, ones around, strided, dilated, and two in a row."""
    # Not when the file is read: Keras's numbers in names begin anew in some tests.
    return [
        bits(2, pad_values=0.0),
        bits(2, pad_values=1.0),
        bits(3, pad_values=0.0, strides=2, activation="relu"),
        bits(1, padding="valid", dilation_rate=2, use_bias=True),
        lambda x: bits(2)(L.BatchNormalization()(bits(2, kernel_quantizer=scaled)(x))),
    ]


def dense(x):
    for _ in range(2):
        y = lq.layers.QuantDense(
            16, input_quantizer=lq.quantizers.DoReFa(2), kernel_quantizer="magnitude_aware_sign",
            kernel_constraint="weight_clip",
        )(L.Flatten()(x))  # fmt: skip
        x = L.Reshape((1, 1, 16))(L.BatchNormalization()(y))
    return x


@pytest.mark.parametrize("runtime", ["lce", "tflite"])
def test_a_number_of_few_bits_is_a_sum_of_signs(runtime):
    model = classifier(side_by_side(*networks(), dense), (7, 7, 8))
    report = checked(model, runtime)
    assert_equal(report)
    assert report.binary_convolutions == (8 if runtime == "lce" else 0)
    assert report.float_layers == ()
    assert report.signs > 0


def test_zeros_around_small_maps_do_not_matter_to_sums_of_signs():
    assert_equal(checked(classifier(bits(2, pad_values=0.0), (2, 2, 8))), 1)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_signs_are_exactly_what_the_quantizer_makes(count, rng):
    layer = bits(count, size=1)
    layer.build((None, 1, 1, 1))
    n = few_bits.levels(layer)
    halves = (np.arange(-1, 2 * n + 2) / (2 * n)).astype(np.float32)
    near = [np.nextafter(halves, np.float32(side)) for side in (-9, 9)]
    x = np.concatenate([halves, *near, rng.uniform(-1, 2, 999)]).astype(np.float32)
    read = few_bits.read(layer, tf.reshape(x, (-1, 1, 1, 1)))
    made = (tf.reduce_sum(lq.math.sign(read), -1) + n) / (2 * n)
    np.testing.assert_array_equal(tf.reshape(made, -1), layer.input_quantizer(x))


@pytest.mark.parametrize(
    "layer",
    [
        q(),
        bits(4),
        bits(2, kernel_quantizer=None),
        bits(2, groups=2),
        bits(2, pad_values=0.5),
        q(input_quantizer=lq.quantizers.DoReFa(2, mode="weights")),
        L.Conv2D(8, 3),
    ],
)
def test_others_are_left_alone(layer):
    layer.build((None, 6, 6, 8))
    assert few_bits.levels(layer) == 0


def test_kernels_are_written_out_for_a_time():
    model = classifier(lambda x: q(kernel_quantizer=scaled)(bits(2)(x)))
    before = model.get_weights()
    kernels = [layer.kernel for layer in model.layers if hasattr(layer, "kernel_quantizer")]
    with kernels_quantized(model):
        for kernel in kernels:
            assert kernel.quantizer is None
            sizes = np.abs(kernel.latent_variable.numpy())
            np.testing.assert_array_equal(sizes, np.broadcast_to(sizes[:1, :1, :1], sizes.shape))
    assert all(kernel.quantizer is not None for kernel in kernels)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["lce", "tflite"])
def test_kernels_too_large_for_converters_stay_binary(runtime):
    """As XNOR-Net's, whose 38 million signs no converter computes."""
    large = q(4096, 6, padding="valid", kernel_quantizer=scaled)
    model = classifier(lambda x: L.BatchNormalization()(large(x)), (6, 6, 256))
    content = LOWER[runtime](model)
    assert len(content) < (6e6 if runtime == "lce" else 40e6)
    assert_equal(checked(model, runtime), 1)
    assert Graph(content).counts["TRANSPOSE"] == 0
