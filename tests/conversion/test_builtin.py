"""Files for stock TFLite: they compute what Keras does, with what stock TFLite has."""

from functools import partial

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from conftest import randomize
from larq_compute_engine.mlir.python.tflite_schema import BuiltinOperator

from larq_insta import models, runtime
from larq_insta.conversion import builtin, folding, lowering
from larq_insta.layers.inference import InferenceThreshold
from larq_insta.layers.quantizers import InstaSign
from larq_insta.rewriting.float_weights import store
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.flatbuffer import unpack
from larq_insta_runtime.graph import Graph

RESOLVERS = tf.lite.experimental.OpResolverType
XNNPACK = {True: RESOLVERS.BUILTIN, False: RESOLVERS.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
MODELS = {
    "InstaResNet18": {"filters": (32, 64)},
    "InstaMobileNetV1": {"filters": (8, 8, 16)},
}


pytestmark = pytest.mark.usefixtures("short_stages")


@pytest.fixture(autouse=True)
def _few_eager_functions():
    tf.keras.backend.clear_session()


@pytest.fixture(scope="module", params=MODELS)
def pair(request):
    """A Keras model, and its file."""
    tf.keras.utils.set_random_seed(1)
    settings = {"input_shape": (16, 16, 3), "stem": "small", "num_classes": 3}
    model = models.get(request.param)(**settings, **MODELS[request.param])
    randomize(model, np.random.default_rng(7), 0.01)
    return model, builtin.lower(folding.fold(model))


def stock(content, images, xnnpack=True):
    """Answers of TensorFlow's own interpreter."""
    reader = tf.lite.Interpreter(
        model_content=content, experimental_op_resolver_type=XNNPACK[xnnpack]
    )
    reader.allocate_tensors()
    (entry,), (result,) = reader.get_input_details(), reader.get_output_details()
    answers = []
    for image in images:
        reader.set_tensor(entry["index"], image[None])
        reader.invoke()
        answers.append(reader.get_tensor(result["index"])[0])
    return np.array(answers)


def network(*layers, shape=(6, 6, 8)):
    inputs = x = tf.keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return tf.keras.Model(inputs, x)


def binary_conv(input_quantizer="ste_sign", **kwargs):
    settings = {
        "padding": "same",
        "pad_values": 1.0,
        "input_quantizer": input_quantizer,
        "kernel_quantizer": "magnitude_aware_sign",
        "kernel_constraint": "weight_clip",
    }
    return lq.layers.QuantConv2D(8, 3, **{**settings, **kwargs})


READERS = {
    "stock": partial(stock, xnnpack=False),
    "stock with XNNPACK": stock,
    "Larq Compute Engine": lambda content, images: runtime.Interpreter(content).predict(images),
}


@pytest.mark.quick(1)
@pytest.mark.parametrize("reader", READERS)
def test_runtimes_answer_as_keras(pair, reader, rng):
    model, content = pair
    x = rng.normal(size=(32, 16, 16, 3)).astype(np.float32)
    answers, expected = READERS[reader](content, x), model.predict(x, verbose=0)
    # Not all: a sum rounded otherwise in front of a sign may flip it.
    assert np.mean(np.abs(answers - expected).max(-1) < 1e-5) >= 0.9
    assert np.mean(answers.argmax(-1) == expected.argmax(-1)) >= 0.98


def test_operators_are_builtin_and_old(pair):
    _, content = pair
    parts = unpack(content)
    assert not [code.customCode for code in parts.operatorCodes if code.customCode]
    versions = {code.builtinCode: code.version for code in parts.operatorCodes}
    assert versions.pop(BuiltinOperator.DEQUANTIZE) == 5
    assert set(versions.values()) == {1}
    counts = Graph(content).counts
    assert not {"SIGN", "GREATER_EQUAL", "SELECT", "SELECT_V2"} & set(counts)
    bounds = [op for op in Graph(content).operators if op.name in {"MINIMUM", "MAXIMUM"}]
    assert {op.outputs[0].shape[:-1] for op in bounds} == {(1, 1, 1)}  # statistics, never maps
    said = [bytes(parts.buffers[entry.buffer].data) for entry in parts.metadata]
    assert b"2.7.0".ljust(16, b"\0") in said


def test_every_sign_is_found_by_what_it_reads(pair):
    model, content = pair
    graph = Graph(content)
    read = [op.inputs[0].shape[1:] for op in graph.operators if builtin.begins_sign(graph, op)]
    layers = lowering.binary_layers(model)
    assert set(read) == {tuple(layer.input_shape[1:]) for layer in layers}
    assert len(read) == len({id(layer.input) for layer in layers})  # of one sign, two may


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
def test_binary_convolutions_are_found(pair, kind):
    model, content = pair
    found = builtin.binary_convolutions(store(content, kind))
    assert found == len(lowering.binary_layers(model))


@pytest.mark.slow
def test_binary_kernels_lose_nothing(monkeypatch, rng):
    """Also behind a batch normalisation that the converter takes into them."""
    model = network(binary_conv(), tf.keras.layers.BatchNormalization(), binary_conv())
    randomize(model, rng)
    stored = list(filters(builtin.lower(model)))
    monkeypatch.setattr(builtin, "store_binary", lambda content: content)
    originals = filters(builtin.lower(model))
    assert [weights.dtype for weights, _ in stored] == [np.int8, np.int8]
    for (weights, steps), (original, _) in zip(stored, originals, strict=True):
        ours = weights * steps.reshape(-1, 1, 1, 1)
        assert ours.tobytes() == original.tobytes()


def filters(content):
    """Weights of each convolution, as stored, and their steps."""
    parts, graph = unpack(content), Graph(content)
    for op in graph.operators:
        if op.name == "CONV_2D":
            maker = graph.constant_operators.get(op.inputs[1].index, op)
            tensor = op.inputs[1] if maker is op else maker.inputs[0]
            entry = parts.subgraphs[0].tensors[tensor.index]
            data = parts.buffers[entry.buffer].data.view(tensor.dtype).reshape(tensor.shape)
            yield data, entry.quantization and np.float32(entry.quantization.scale)


@pytest.mark.parametrize("xnnpack", [True, False])
@pytest.mark.parametrize("quantizer", ["ste_sign", "lean_approx_sign"])
def test_signs_are_exact(quantizer, xnnpack):
    sizes = np.array([0, 1.2e-38, 1e-7, 0.5, 1, 3, np.finfo(np.float32).max, np.inf], np.float32)
    if not xnnpack:  # which, as TensorFlow itself, takes smaller numbers for zero
        sizes = np.append(sizes, np.float32([1e-45, 1e-39]))
    x = np.concatenate([sizes, -sizes]).reshape(1, 1, 1, -1)
    content = builtin.lower(network(lq.quantizers.get(quantizer), shape=x.shape[1:]))
    np.testing.assert_array_equal(stock(content, x, xnnpack), np.where(x >= 0, 1, -1))


@pytest.mark.parametrize("fold", [True, False])
def test_thresholds_inside_quantizers_are_kept(fold, rng):
    model = network(binary_conv(InstaSign()))
    randomize(model, rng)
    lowered = folding.fold(model) if fold else model
    threshold = lowered.layers[1].input_quantizer.threshold
    assert isinstance(threshold, InferenceThreshold) == fold
    x = rng.normal(size=(8, 6, 6, 8)).astype(np.float32)
    content = builtin.lower(lowered)
    assert builtin.binary_convolutions(content) == 1
    np.testing.assert_allclose(stock(content, x), model.predict(x, verbose=0), atol=1e-5)


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    "layers",
    [
        lambda: [lq.quantizers.SteSign(), binary_conv(None)],
        lambda: [binary_conv(strides=2)],
        lambda: [binary_conv(groups=2)],
        lambda: [
            lq.layers.QuantDepthwiseConv2D(
                3,
                padding="same",
                pad_values=1.0,
                input_quantizer="approx_sign",
                depthwise_quantizer="ste_sign",
                depthwise_constraint="weight_clip",
            )
        ],
    ],
)
def test_convolutions_of_all_kinds(layers, rng):
    model = network(*layers())
    x = rng.normal(size=(8, 6, 6, 8)).astype(np.float32)
    content = builtin.lower(model)
    assert builtin.binary_convolutions(content) == 1
    np.testing.assert_allclose(stock(content, x), model.predict(x, verbose=0), atol=1e-5)


def test_float_kernels_and_inputs_are_not_counted():
    half = binary_conv(kernel_quantizer=None, kernel_constraint=None), binary_conv(None)
    assert builtin.binary_convolutions(builtin.lower(network(*half))) == 0


def test_larq_is_left_as_it_was(monkeypatch):
    def fail(folder):
        assert lq.math.sign is builtin.sign
        raise RuntimeError("the real reason\nand its trace")

    original = lq.math.sign
    monkeypatch.setattr(tf.lite.TFLiteConverter, "from_saved_model", fail)
    with pytest.raises(InputError, match="cannot convert .*: the real reason$"):
        builtin.lower(network(lq.quantizers.SteSign()))
    assert lq.math.sign is original


def test_nothing_is_printed(capfd):
    builtin.lower(network(binary_conv()))
    assert "Summary" not in "".join(capfd.readouterr())


def test_operators_that_stock_runtimes_do_not_know_are_refused():
    model = network(tf.keras.layers.Lambda(lambda x: tf.math.igamma(x, x)))
    with pytest.raises(InputError, match="must be one of TensorFlow Lite's; Igamma of .* replace"):
        builtin.lower(model)


def test_models_that_cannot_be_converted_are_refused():
    with pytest.raises(InputError, match="fixed input size"):
        builtin.lower(network(binary_conv(), shape=(None, None, 8)))
