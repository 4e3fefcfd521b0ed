"""Float filters in fewer bytes: what they are afterwards, and that all else is as it was."""

import copy

import numpy as np
import pytest
import tensorflow as tf
from conftest import randomize
from larq_compute_engine.mlir.python.tflite_schema import BuiltinOperator, Model, TensorType
from larq_compute_engine.tflite.python.interpreter import Interpreter

from larq_insta import models
from larq_insta.conversion import lowering
from larq_insta.rewriting.float_weights import KINDS, pack, store, store_binary, unpack
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.graph import Graph

SMALLER = KINDS[1:]
CHANNEL_AXIS = {(3, 3, 16, 32): 3, (3, 3, 32, 1): 2, (32, 48): 1}  # in Keras's filters


pytestmark = pytest.mark.usefixtures("short_stages")


@pytest.fixture(autouse=True)
def _few_eager_functions():
    tf.keras.backend.clear_session()


@pytest.fixture(scope="module")
def content():
    """A binary model, whose stem, shortcut and classifier are float."""
    tf.keras.utils.set_random_seed(1)
    model = models.get("InstaResNet18")(
        input_shape=(16, 16, 3), stem="small", num_classes=3, filters=(32, 64)
    )
    randomize(model, np.random.default_rng(7), 0.01)
    return lowering.lower(model)


def model_of(*layers):
    inputs = x = tf.keras.Input((8, 8, 16))
    for layer in layers:
        x = layer(x)
    return tf.keras.Model(inputs, x)


def float_model(rng):
    """One layer of each kind that has float filters, a channel of zeros in each."""
    model = model_of(
        tf.keras.layers.Conv2D(32, 3, activation="relu"),
        tf.keras.layers.DepthwiseConv2D(3),
        tf.keras.layers.GlobalAveragePooling2D(),
        tf.keras.layers.Dense(48),
    )
    randomize(model, rng)
    for layer in model.layers:
        for weight in layer.weights[:1]:
            # Channels of different sizes, which a wrong axis or one step for all would spoil.
            size = weight.shape[CHANNEL_AXIS[tuple(weight.shape)]]
            scales = np.geomspace(1e-3, 10, size).astype(np.float32)
            scales[3] = 0
            weight.assign(weight * along(scales, weight))
    return model


def along(vector, weight):
    axis = CHANNEL_AXIS[tuple(weight.shape)]
    return vector.reshape([-1 if i == axis else 1 for i in range(len(weight.shape))])


def largest(weight):
    axis = CHANNEL_AXIS[tuple(weight.shape)]
    return np.abs(weight).max(tuple(i for i in range(weight.ndim) if i != axis))


def filters(content):
    """Constants behind DEQUANTIZE, made float by their own numbers."""
    model = unpack(content)
    graph, found = model.subgraphs[0], []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if code.builtinCode != BuiltinOperator.DEQUANTIZE:
            continue
        tensor = graph.tensors[operator.inputs[0]]
        kind = np.float16 if tensor.type == TensorType.FLOAT16 else np.int8
        values = model.buffers[tensor.buffer].data.view(kind).reshape(tensor.shape)
        found.append((values.astype(np.float32), tensor.quantization))
    return found


def keras_filter(values):
    """TFLite's order of axes to Keras's."""
    if values.ndim == 2:
        return values.T
    return values[0][..., None] if values.shape[0] == 1 else values.transpose(1, 2, 3, 0)


@pytest.mark.slow
def test_int8_is_half_a_step_near_and_exact_at_the_extremes(rng):
    model = float_model(rng)
    originals = [layer.get_weights()[0] for layer in model.layers if layer.weights]
    stored = filters(store(lowering.lower(model), "int8"))
    assert len(stored) == len(originals) == 3
    for original, (values, quantization) in zip(originals, stored, strict=True):
        steps = along(quantization.scale, original)
        ours = keras_filter(values) * steps
        assert np.all(np.abs(ours - original) <= steps * 0.501)
        np.testing.assert_allclose(largest(ours), largest(original), rtol=1e-6)
        assert np.abs(values).max() == 127
        assert np.all(quantization.zeroPoint == 0)


def test_float16_is_the_nearest_number(rng):
    model = float_model(rng)
    originals = [layer.get_weights()[0] for layer in model.layers if layer.weights]
    stored = filters(store(lowering.lower(model), "float16"))
    for original, (values, _) in zip(originals, stored, strict=True):
        np.testing.assert_array_equal(keras_filter(values), original.astype(np.float16))


@pytest.mark.parametrize("xnnpack", [False, True])
@pytest.mark.parametrize("kind", SMALLER)
def test_it_computes_in_float_with_the_stored_weights(kind, xnnpack, rng):
    """The oracle is Keras with the same rounded weights."""
    model = float_model(rng)
    content = store(lowering.lower(model), kind)
    for layer, (values, quantization) in zip(
        [layer for layer in model.layers if layer.weights], filters(content), strict=True
    ):
        kernel, bias = layer.get_weights()
        steps = along(quantization.scale, kernel) if kind == "int8" else 1
        layer.set_weights([keras_filter(values) * steps, bias])
    x = rng.normal(size=(4, 8, 8, 16)).astype(np.float32)
    answers = Interpreter(content, use_xnnpack=xnnpack).predict(x)
    # Only the order of float32 sums differs.
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(answers, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_a_channel_of_zeros_stays_zero(rng):
    for values, quantization in filters(store(lowering.lower(float_model(rng)), "int8")):
        zeros = np.moveaxis(values, quantization.quantizedDimension, 0)[3]
        assert np.all(zeros == 0)
        assert np.all(quantization.scale > 0)
        assert np.isfinite(quantization.scale).all()


@pytest.mark.parametrize("bgemm", [False, True])
@pytest.mark.parametrize("xnnpack", [False, True])
@pytest.mark.parametrize("kind", SMALLER)
def test_a_binary_model_answers_nearly_the_same(content, kind, xnnpack, bgemm, rng):
    smaller = store(content, kind)
    assert len(smaller) < len(content)
    x = rng.normal(size=(32, 16, 16, 3)).astype(np.float32)
    options = {"use_xnnpack": xnnpack, "use_indirect_bgemm": bgemm}
    before = Interpreter(content, **options).predict(x)
    after = Interpreter(smaller, **options).predict(x)
    # Signs of numbers near zero flip, of which an untrained network has many.
    assert np.median(np.abs(after - before).max(-1)) < 0.05
    assert np.mean(after.argmax(-1) == before.argmax(-1)) >= 0.8


def test_the_same_picture_again_gets_the_same_answer(content, rng):
    reader = Interpreter(store(content, "int8"))
    x = rng.normal(size=(2, 16, 16, 3)).astype(np.float32)
    first = reader.predict(x)
    np.testing.assert_array_equal(reader.predict(x), first)


@pytest.mark.parametrize("kind", SMALLER)
def test_all_else_is_as_it_was(content, kind):
    before, after = unpack(content), unpack(store(content, kind))
    changed = 0
    tensors = [model.subgraphs[0].tensors for model in (before, after)]
    for old, new in zip(*tensors, strict=False):  # what is new comes last
        data = [m.buffers[t.buffer].data for m, t in ((before, old), (after, new))]
        changed += not np.array_equal(*data)
    dequantize = len(after.operatorCodes) - 1
    kept = [o for o in after.subgraphs[0].operators if o.opcodeIndex != dequantize]
    assert changed == len(after.subgraphs[0].operators) - len(kept) > 0
    for old, new in zip(before.subgraphs[0].operators, kept, strict=True):
        assert old.opcodeIndex == new.opcodeIndex
        assert np.array_equal(old.customOptions, new.customOptions)
        differing = np.flatnonzero(old.inputs != new.inputs)
        assert list(differing) in ([], [1])
    counts = Graph(store(content, kind)).counts
    assert counts - Graph(content).counts == {"DEQUANTIZE": changed}


def test_binary_filters_are_untouched(content):
    def binary(content):
        model = unpack(content)
        graph = model.subgraphs[0]
        return [
            model.buffers[graph.tensors[operator.inputs[1]].buffer].data.tobytes()
            for operator in graph.operators
            if model.operatorCodes[operator.opcodeIndex].customCode == b"LceBconv2d"
        ]

    assert len(binary(content)) == 4
    assert binary(store(content, "int8")) == binary(content)


def test_constants_are_aligned(content):
    model = Model.GetRootAsModel(store(content, "int8"), 0)
    for i in range(model.BuffersLength()):
        field = model.Buffers(i)._tab.Offset(4)
        assert not field or model.Buffers(i)._tab.Vector(field) % 16 == 0


def test_float32_changes_nothing(content):
    assert store(content, "float32") is content


def with_binary_filters(model, rng):
    """The same model, but weights +s and -s, another s in each channel, one of them zero."""
    for layer in model.layers:
        for weight in layer.weights[:1]:
            signs = rng.choice([-1, 1], weight.shape)
            sizes = np.abs(rng.normal(size=weight.shape[CHANNEL_AXIS[tuple(weight.shape)]]))
            sizes[3] = 0
            weight.assign(signs * along(sizes, weight))
    return model


@pytest.mark.parametrize("store", [store_binary, lambda content: store(content, "int8")])
def test_filters_of_one_magnitude_are_exact(store, rng):
    model = with_binary_filters(float_model(rng), rng)
    originals = [layer.get_weights()[0] for layer in model.layers if layer.weights]
    stored = filters(store(lowering.lower(model)))
    assert len(stored) == len(originals) == 3
    for original, (values, quantization) in zip(originals, stored, strict=True):
        assert set(np.unique(values)) == {-1, 0, 1}
        steps = along(quantization.scale, original)
        np.testing.assert_array_equal(keras_filter(values) * steps, original)


def test_only_filters_that_lose_nothing_are_stored_as_binary(content, rng):
    assert store_binary(content) is content
    assert store_binary(model := lowering.lower(float_model(rng))) is model
    network = with_binary_filters(float_model(rng), rng)
    kernel, bias = network.layers[1].get_weights()
    kernel[0, 0, 0, 5] *= 1 + 1e-6
    network.layers[1].set_weights([kernel, bias])
    assert Graph(store_binary(lowering.lower(network))).counts["DEQUANTIZE"] == 2


def test_other_filters_can_be_smaller_too(rng):
    network = with_binary_filters(float_model(rng), rng)
    kernel, bias = network.layers[-1].get_weights()
    network.layers[-1].set_weights([rng.normal(size=kernel.shape), bias])
    *binary, (values, _) = filters(store(store_binary(lowering.lower(network)), "float16"))
    assert [np.abs(values).max() for values, _ in binary] == [1, 1]
    assert values.shape == (48, 32)


@pytest.mark.parametrize(("kind", "version"), [("float16", b"1.15.0"), ("int8", b"2.7.0")])
def test_the_file_says_which_runtime_it_needs(kind, version, rng):
    model = unpack(store(lowering.lower(float_model(rng)), kind))
    (entry,) = (entry for entry in model.metadata if entry.name == b"min_runtime_version")
    assert bytes(model.buffers[entry.buffer].data) == version.ljust(16, b"\0")


def test_another_kind_is_refused(content):
    with pytest.raises(InputError, match="stored as float32, float16, int8; got 'int4'"):
        store(content, "int4")


def test_a_computed_filter_is_left_alone():
    def correlate(x):
        kernel = tf.reshape(tf.reduce_mean(x, (0, 1, 2)), (1, 1, 16, 1))
        return tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "VALID")

    content = lowering.lower(model_of(tf.keras.layers.Lambda(correlate)))
    assert Graph(content).counts["DEPTHWISE_CONV_2D"] == 1
    assert store(content, "int8") is content


def test_what_would_not_get_smaller_is_left_alone():
    content = lowering.lower(model_of(tf.keras.layers.Conv2D(4, 1)))
    assert Graph(content).counts["CONV_2D"] == 1
    assert store(content, "int8") is content


@pytest.mark.parametrize(("value", "kind"), [(1e6, "float16"), (np.nan, "int8")])
def test_weights_that_a_kind_cannot_hold_are_left_alone(value, kind, rng):
    model = float_model(rng)
    kernel, bias = model.layers[-1].get_weights()
    kernel[0, 0] = value
    model.layers[-1].set_weights([kernel, bias])
    counts = Graph(store(lowering.lower(model), kind)).counts
    assert counts["DEQUANTIZE"] == 2


def with_shared_filter(tensors):
    """A model of two convolutions with one filter, as one tensor or two of the same buffer."""
    layer = tf.keras.layers.Conv2D(16, 3, padding="same", activation="relu")
    model = unpack(lowering.lower(model_of(layer, layer)))
    graph = model.subgraphs[0]
    first, second = (o for o in graph.operators if len(o.inputs) == 3)
    second.inputs[1] = first.inputs[1]
    if tensors == 2:
        graph.tensors.append(copy.copy(graph.tensors[first.inputs[1]]))
        second.inputs[1] = len(graph.tensors) - 1
    return model


@pytest.mark.parametrize("tensors", [1, 2])
def test_a_filter_that_operators_share_is_stored_once(tensors, rng):
    content = pack(with_shared_filter(tensors))
    smaller = store(content, "int8")
    assert Graph(smaller).counts["DEQUANTIZE"] == tensors
    assert len(content) - len(smaller) > 3 * 9 * 16 * 16 - 1000
    x = rng.normal(size=(2, 8, 8, 16)).astype(np.float32)
    before, after = Interpreter(content).predict(x), Interpreter(smaller).predict(x)
    np.testing.assert_allclose(after, before, atol=0.02 * before.max())


def test_a_filter_that_is_a_result_too_is_left_alone():
    model = with_shared_filter(1)
    graph = model.subgraphs[0]
    used = next(o for o in graph.operators if len(o.inputs) == 3).inputs[1]
    graph.outputs = np.array([*graph.outputs, used], np.int32)
    content = pack(model)
    assert store(content, "int8") is content


def test_a_filter_that_has_other_channels_elsewhere_is_left_alone():
    model = with_shared_filter(2)
    model.subgraphs[0].tensors[-1].shape = [48, 3, 1, 16]
    content = pack(model)
    assert store(content, "int8") is content
