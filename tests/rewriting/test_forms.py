"""Models in the forms that trainings need."""

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from conftest import BINARY, randomize

from larq_insta.layers import InstaSign
from larq_insta.rewriting import heads
from larq_insta.rewriting.forms import formed
from larq_insta_runtime.errors import InputError

SIZE = (6, 6, 2)


def network(*end, quantizer="ste_sign", kernel="ste_sign"):
    settings = {"input_quantizer": quantizer, "kernel_quantizer": kernel, "use_bias": True}
    return tf.keras.Sequential(
        [
            tf.keras.Input(SIZE),
            lq.layers.QuantConv2D(4, 3, name="conv", **{**BINARY, **settings}),
            lq.quantizers.SteSign(name="sign"),
            tf.keras.layers.Flatten(),
            *(end or dense()),
        ]
    )


def dense(**kwargs):
    return [tf.keras.layers.Dense(3, activation="softmax", name="classes", **kwargs)]


def pictures(rng):
    return rng.normal(size=(4, *SIZE)).astype(np.float32)


def test_logits_come_before_the_softmax_inside_the_last_layer(rng):
    model = network()
    randomize(model, rng)
    copy = formed(model)
    assert [layer.name for layer in copy.layers[-2:]] == ["classes", "classes_probs"]
    assert heads.head(copy).name == "classes"
    x = pictures(rng)
    logits = tf.keras.Model(copy.inputs, heads.logits(copy))(x)
    np.testing.assert_allclose(tf.nn.softmax(logits), model(x), rtol=1e-5)
    np.testing.assert_allclose(copy(x), model(x), rtol=1e-6)


@pytest.mark.parametrize(
    "build",
    [
        lambda: [tf.keras.layers.Dense(3), tf.keras.layers.Softmax()],
        lambda: [tf.keras.layers.Dense(3), tf.keras.layers.Activation("softmax", dtype="float32")],
        lambda: [
            tf.keras.layers.Dense(3),
            tf.keras.layers.Dropout(0.5),
            tf.keras.layers.Softmax(),
            tf.keras.layers.Flatten(),
        ],
    ],
)
def test_logits_are_found(build, rng):
    end = build()
    model = network(*end)
    assert heads.head(model) is end[0]
    x = pictures(rng)
    logits = tf.keras.Model(model.inputs, heads.logits(model))(x)
    np.testing.assert_array_equal(tf.keras.layers.Softmax()(logits), model(x))


def within(inner, **kwargs):
    inputs = tf.keras.Input(SIZE)
    outputs = inner(tf.keras.layers.Rescaling(0.5, name="scale")(inputs), **kwargs)
    return tf.keras.Model(inputs, tf.keras.layers.Flatten(name="flat")(outputs), name="whole")


def test_logits_are_found_in_a_model_at_the_end(rng):
    model = within(network())
    randomize(model, rng)
    copy = formed(model)
    assert heads.head(copy).name == "classes"
    names = ["scale", "conv", "sign", "flatten", "classes", "classes_probs", "flat"]
    assert [layer.name.rstrip("_0123456789") for layer in copy.layers[1:]] == names
    x = pictures(rng)
    np.testing.assert_allclose(copy(x), model(x), rtol=1e-6)
    logits = tf.keras.Model(copy.inputs, heads.logits(copy))(x)
    np.testing.assert_allclose(tf.nn.softmax(logits), model(x), rtol=1e-5)
    assert formed(model, classes=5).output_shape == (None, 5)


def test_logits_are_found_before_a_function(rng):
    model = network(tf.keras.layers.Dense(3, name="classes"))
    model = tf.keras.Model(model.inputs, tf.nn.softmax(model.output))
    logits = heads.logits(formed(model))
    assert logits._keras_history.layer.name == "classes"


def test_logits_in_a_model_that_is_called_for_inference_alone_are_refused():
    model = formed(within(network(), training=False))
    with pytest.raises(InputError, match="must be one of its layers; that of whole is inside of"):
        heads.logits(model)


def test_with_binary_activations_kernels_are_float(rng):
    model = network()
    randomize(model, rng)
    copy = formed(model, binary="activations")
    conv = copy.get_layer("conv")
    assert (conv.kernel_quantizer, conv.kernel_constraint, conv.pad_values) == (None, None, 1.0)
    assert conv.input_quantizer.precision == 1
    np.testing.assert_array_equal(conv.kernel, model.get_layer("conv").kernel)
    signs = np.where(pictures(rng) >= 0, 1, -1).astype(np.float32)
    padded = np.pad(signs, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=1)
    wanted = tf.nn.conv2d(padded, conv.kernel, 1, "VALID") + conv.bias
    rng = np.random.default_rng(7)
    features = tf.keras.Model(copy.inputs, conv.output)
    np.testing.assert_allclose(features(signs), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("quantizer", ["ste_sign", "insta_sign"])
def test_with_nothing_binary_it_is_a_float_model(quantizer, rng):
    model = network(quantizer=InstaSign() if quantizer == "insta_sign" else quantizer)
    randomize(model, rng)
    copy = formed(model, binary="neither")
    conv = copy.get_layer("conv")
    assert (conv.input_quantizer, conv.kernel_quantizer, conv.pad_values) == (None, None, 0.0)
    x = pictures(rng)
    features = tf.keras.Model(copy.inputs, copy.get_layer("sign").output)(x)
    wanted = tf.nn.conv2d(x, conv.kernel, 1, "SAME") + conv.bias
    np.testing.assert_allclose(features, wanted, rtol=1e-4, atol=1e-5)


def test_another_number_of_classes_gets_a_new_head_and_keeps_the_rest(rng):
    model = network()
    randomize(model, rng)
    copy = formed(model, classes=5)
    assert copy.output_shape == (None, 5)
    np.testing.assert_array_equal(copy.get_layer("conv").kernel, model.get_layer("conv").kernel)
    assert np.ptp(copy.get_layer("classes").kernel) > 0
    assert formed(model, classes=3).get_layer("classes").kernel.shape[-1] == 3


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (
            lambda: [tf.keras.layers.Dense(3, name="last")],
            {"classes": 4},
            "ends with last (Dense): put",
        ),
        (
            lambda: [
                tf.keras.layers.Reshape((6, 6, 4)),
                tf.keras.layers.Conv2D(3, 6, name="wide"),
                tf.keras.layers.Flatten(),
                tf.keras.layers.Softmax(),
            ],
            {"classes": 4},
            "must be dense; of .* it is wide (Conv2D): build it for 4 classes",
        ),
        (dense, {"binary": "weights"}, "`binary` must be 'both', 'activations', 'neither'; got"),
    ],
)
def test_what_cannot_be_is_refused(build, arguments, message):
    pattern = message.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises((ValueError, InputError), match=pattern):
        formed(network(*build()), **arguments)


def test_a_step_without_binary_kernels_is_refused():
    with pytest.raises(ValueError, match="needs binary kernels of Larq's layers; .* has none"):
        formed(network(kernel=None), binary="activations")
