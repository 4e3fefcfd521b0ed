"""Float layers in int8, against the same file in float and TensorFlow's own convolution."""

import json

import numpy as np
import pytest
import tensorflow as tf
from conftest import randomize

from larq_insta import conversion, models, runtime
from larq_insta.conversion import folding, lowering
from larq_insta.rewriting import filters, float_layers, ranges
from larq_insta_runtime.card import Card
from larq_insta_runtime.engine import Interpreter
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.flatbuffer import unpack
from larq_insta_runtime.graph import Graph
from larq_insta_runtime.preprocessing import Preprocessing

PIXELS = Preprocessing(16, 3, mean=(120.0, 110.0, 100.0), std=(60.0, 50.0, 55.0))
GREY = Preprocessing(16, 3, mean=(127.5,), std=(64.0,))
LABELS = np.zeros(32, np.int64)
DIGITS = Card("InstaResNet18", {}, "digits", ("a", "b", "c"), GREY)


def lite(network):
    return tf.lite.TFLiteConverter.from_keras_model(network).convert()


def network(*layers, shape=(16, 16, 3)):
    inputs = x = tf.keras.Input(shape, 1)
    for layer in layers:
        x = layer(x)
    return tf.keras.Model(inputs, x)


def float_network(taps=3, padding="same", strides=2):
    """All layers that are rewritten, once with something to pool and once without."""
    layers = tf.keras.layers
    return network(
        layers.Conv2D(8, taps, strides, padding, bias_initializer="normal"),
        layers.MaxPool2D(2),
        layers.DepthwiseConv2D(3, activation="relu"),
        layers.Conv2D(12, 1, use_bias=False),
        layers.GlobalAveragePooling2D(),
        layers.Dense(5),
    )


def images(rng, count=24):
    return rng.normal(size=(count, 16, 16, 3)).astype(np.float32)


def error(float_content, int8_content, given, taken=None):
    """Root mean squared, in standard deviations of what float answers."""
    floats, ints = Interpreter(float_content), Interpreter(int8_content)
    answers = floats.predict(given)
    return np.sqrt(np.mean((answers - ints.predict(given if taken is None else taken)) ** 2)) / (
        answers.std()
    )


@pytest.mark.quick(4)
@pytest.mark.parametrize("taps", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("width", [10, 12, 16])
def test_pairs_of_columns_are_the_same_convolution(taps, padding, width, rng):
    map_of_few = tf.constant(rng.normal(size=(1, 9, width, 3)), tf.float32)
    kernels = rng.normal(size=(4, taps, taps, 3)).astype(np.float32)
    code = {"same": 0, "valid": 1}[padding]
    pairs = filters.paired(kernels, width, code)
    if pairs is None:
        pytest.skip("padding falls into a pair")
    expected = tf.nn.conv2d(map_of_few, kernels.transpose(1, 2, 3, 0), 2, padding.upper())
    folded = tf.reshape(map_of_few, (1, 9, width // 2, 6))
    found = tf.nn.conv2d(folded, pairs.transpose(1, 2, 3, 0), (2, 1), padding.upper())
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_stems_of_the_published_sizes_are_folded():
    for taps, width in ((7, 224), (3, 224), (7, 96)):
        kernels = np.ones((2, taps, taps, 3), np.float32)
        assert filters.paired(kernels, width, 0) is not None


@pytest.mark.parametrize(("taps", "padding", "strides"), [(7, "same", 2), (3, "valid", 1)])
def test_all_layers_are_in_int8_and_answer_nearly_as_before(taps, padding, strides, rng):
    content = lite(float_network(taps, padding, strides))
    int8 = float_layers.compute_in_int8(content, images(rng))
    graph = Graph(int8)
    for operator in graph.operators:
        if operator.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D"):
            assert operator.inputs[0].dtype == operator.outputs[0].dtype == np.int8
    assert graph.counts["CONV_2D"] == 3
    assert graph.counts["FULLY_CONNECTED"] == 0
    assert [tensor.dtype for tensor in (*graph.inputs, *graph.outputs)] == [np.float32] * 2
    assert error(content, int8, images(rng)) < 0.05
    # And not because it still computes in float.
    assert error(content, int8, images(rng)) > 1e-4


def test_by_larq_compute_engine_too(rng):
    from larq_insta.conversion.engine import Interpreter as LarqInterpreter

    content = float_layers.compute_in_int8(lite(float_network()), images(rng))
    ours, theirs = Interpreter(content), LarqInterpreter(content)
    given = images(rng, 4)
    np.testing.assert_allclose(ours.predict(given), theirs.predict(given), atol=0.05)


@pytest.mark.parametrize("preprocessing", [PIXELS, GREY])
def test_pixels_are_normalized_by_the_first_layer(preprocessing, rng):
    content = lite(float_network())
    taken = rng.integers(0, 256, (24, 16, 16, 3)).astype(np.uint8)
    given = preprocessing.normalize(taken)
    int8 = float_layers.compute_in_int8(content, given, preprocessing)
    assert Graph(int8).inputs[0].dtype == np.uint8
    # Outside of the picture is grey, and not the mean colour: seen on such small ones only.
    assert error(content, int8, given, taken) < (0.06 if preprocessing is GREY else 0.15)


def test_weights_of_a_file_take_a_quarter(rng):
    content = lite(network(tf.keras.layers.Conv2D(256, 5), tf.keras.layers.Conv2D(64, 5)))
    int8 = float_layers.compute_in_int8(content, images(rng, 2))
    assert len(int8) < 0.3 * len(content)
    assert len(unpack(int8).subgraphs[0].tensors) == len(
        {i for op in unpack(int8).subgraphs[0].operators for i in (*op.inputs, *op.outputs)}
    )


def test_steps_are_those_of_least_error(rng):
    numbers = np.append(rng.normal(size=10_000), 60).astype(np.float32)
    steps = ranges.steps_for(numbers)
    whole = np.clip(np.rint(numbers / steps.scale) + steps.zero, -128, 127)
    cut = np.square((whole - steps.zero) * steps.scale - numbers).mean()
    kept = np.square(np.rint(numbers / (66 / 255)) * (66 / 255) - numbers).mean()
    assert cut <= kept
    assert ranges.steps_for(np.zeros(3, np.float32)).scale == 1.0
    assert ranges.steps_for(np.array([5.0, 9.0])).zero == -128  # zero is always among them


@pytest.mark.usefixtures("short_stages")
def test_branches_of_thresholds_stay_in_float(rng):
    model = models.InstaResNet18(
        input_shape=(16, 16, 3), stem="small", num_classes=3, filters=(8, 16), plus=True,
        insta_blocks="all",
    )  # fmt: skip
    content = lowering.lower(folding.fold(model))
    branches = Graph(content).counts["FULLY_CONNECTED"] - 1
    assert branches >= 4
    int8 = Graph(float_layers.compute_in_int8(content, images(rng, 2)))
    assert int8.counts["FULLY_CONNECTED"] == branches


@pytest.mark.usefixtures("short_stages")
def test_a_converted_file_says_so_and_takes_pixels(rng, tmp_path):
    model = models.InstaResNet18(
        input_shape=(16, 16, 3), stem="small", num_classes=3, filters=(8, 16)
    )
    randomize(model, rng, 0.01)
    taken = rng.integers(0, 256, (32, 16, 16, 3)).astype(np.uint8)
    target = tmp_path / "m.tflite"
    report = conversion.convert(
        model, target, DIGITS, GREY.normalize(taken), LABELS,
        float_layers="int8", calibration=GREY.normalize(taken), pixels=True,
        allow_differences=True,
    )  # fmt: skip
    assert not any(block.differs for block in report.blocks)
    said = json.loads((tmp_path / "m.tflite.json").read_text())
    assert (said["float_layers_in"], said["pixels"]) == ("int8", True)
    opened = runtime.open_model(target)
    np.testing.assert_array_equal(opened.predict(taken), opened.predict(GREY.normalize(taken)))


def test_what_cannot_be_is_refused(rng, tmp_path):
    model = models.ReActNet18(input_shape=(16, 16, 3), stem="small", num_classes=3, filters=(8, 8))
    few = images(rng, 2)

    def convert(**options):
        conversion.convert(model, tmp_path / "m.tflite", DIGITS, few, LABELS[:2], **options)

    with pytest.raises(InputError, match="computed in float32, int8; got 'int4'"):
        convert(float_layers="int4")
    with pytest.raises(InputError, match="got float32: add --float-layers int8"):
        convert(pixels=True)
    with pytest.raises(InputError, match="at least 1 picture; got 0"):
        convert(float_layers="int8")
    with pytest.raises(InputError, match="runtime lce; got 'tflite'"):
        convert(float_layers="int8", calibration=few, runtime="tflite")
    with pytest.raises(InputError, match="it has none: leave --float-layers out"):
        float_layers.compute_in_int8(lite(network(tf.keras.layers.ReLU())), few)
    with pytest.raises(InputError, match="this one does not: leave out --input uint8"):
        float_layers.compute_in_int8(
            lite(network(tf.keras.layers.ReLU(), tf.keras.layers.Conv2D(2, 1))), few, PIXELS
        )
    assert list(tmp_path.iterdir()) == []
