"""Lowering through Larq Compute Engine, and what the verification must catch."""

import json
import zipfile
from dataclasses import replace

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from conftest import randomize

from larq_insta import conversion, models, runtime
from larq_insta.conversion import folding, lowering, verification
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.graph import Graph
from larq_insta_runtime.preprocessing import Preprocessing

CARD = Card("InstaResNet18", {}, "digits", ("a", "b", "c"), Preprocessing(16, 3))
LABELS = np.zeros(32, np.int64)
pytestmark = pytest.mark.usefixtures("short_stages")


@pytest.fixture(autouse=True)
def _few_eager_functions():
    tf.keras.backend.clear_session()


def pictures(rng, count=32, side=16):
    return rng.normal(size=(count, side, side, 3)).astype(np.float32)


def verify(model, images, fold=True):
    network = folding.fold(model) if fold else model
    content = lowering.lower(network)
    labels = np.zeros(len(images), np.int64)
    return verification.verify(model, network, content, content, images, labels)


def small(name="InstaResNet18", **kwargs):
    settings = {"input_shape": (16, 16, 3), "stem": "small", "num_classes": 3}
    return models.get(name)(**{**settings, "filters": (8, 16), **kwargs})


def one_block():
    return small("ReActNetA", filters=(8, 8))


def binary_model(layer, *before, shape=(16, 16, 8)):
    inputs = tf.keras.Input(shape)
    x = inputs
    for first in before:
        x = first(x)
    x = tf.keras.layers.GlobalAveragePooling2D()(layer(x))
    return tf.keras.Model(inputs, tf.keras.layers.Softmax()(x))


def binary_conv(input_quantizer="ste_sign", kind=lq.layers.QuantConv2D, **kwargs):
    kernel = "depthwise" if kind is lq.layers.QuantDepthwiseConv2D else "kernel"
    settings = {
        f"{kernel}_quantizer": "ste_sign",
        f"{kernel}_constraint": "weight_clip",
        "padding": "same",
        "pad_values": 1.0,
        "input_quantizer": input_quantizer,
    }
    size = (3,) if kernel == "depthwise" else (8, 3)
    return kind(*size, **{**settings, **kwargs})


@pytest.mark.quick(1)
@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("InstaResNet18", {"plus": True}),
        (
            "InstaResNet18",
            {
                "threshold": {"normalization": "batch"},
                "stem": "imagenet",
                "input_shape": (35, 50, 3),
            },
        ),
        ("InstaMobileNetV1", {"filters": (8, 8, 16)}),
        ("ReActNet18", {}),
    ],
)
def test_the_file_answers_as_keras(name, arguments, fold, rng):
    model = small(name, **arguments)
    randomize(model, rng, 0.01)
    x = rng.normal(size=(32, *model.input_shape[1:])).astype(np.float32)
    report = verify(model, x, fold)
    assert not report.problems
    assert report.binary_convolutions == len(lowering.binary_layers(model)) > 0
    assert report.agreement >= 0.98
    # Without a flipped sign only the order of float32 sums differs.
    assert report.deviation < 1e-5


@pytest.mark.slow
def test_operators_of_a_block(rng):
    model = small(filters=(8,), insta_blocks="all", reuse_statistics=False)
    randomize(model, rng, 0.01)  # alphas of zero would be folded away
    counts = Graph(lowering.lower(model)).counts
    assert counts["LceBconv2d"] == counts["LceQuantize"] == counts["PRELU"] == 2
    assert counts["MEAN"] == 4
    assert not {"POW", "NEG", "RELU"} & set(counts)


def test_input_and_output_are_one_picture(rng):
    graph = Graph(lowering.lower(one_block()))
    assert [tensor.shape for tensor in graph.inputs] == [(1, 16, 16, 3)]
    assert [tensor.shape for tensor in graph.outputs] == [(1, 3)]


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("model", "found"),
    [
        (lambda: binary_model(binary_conv(kind=lq.layers.QuantDepthwiseConv2D)), "0 of 1"),
        (lambda: binary_model(binary_conv(groups=2)), "0 of 1"),
        (
            lambda: binary_model(
                binary_conv(groups=2),
                binary_conv(),
            ),
            "1 of 2",
        ),
    ],
)
def test_silent_fallbacks_to_float_are_caught(model, found, rng):
    model = model()
    x = rng.normal(size=(2, 16, 16, 8)).astype(np.float32)
    report = verify(model, x)
    assert f"must stay binary; {found} did" in report.problems[0]


def test_a_sign_of_its_own_counts_as_binary_input(rng):
    model = binary_model(binary_conv(None), lq.quantizers.SteSign())
    x = rng.normal(size=(4, 16, 16, 8)).astype(np.float32)
    assert verify(model, x).binary_convolutions == 1


def test_binary_dense_layers_are_named(rng):
    inputs = tf.keras.Input((16, 16, 8))
    x = tf.keras.layers.Flatten()(binary_conv()(inputs))
    dense = lq.layers.QuantDense(
        3,
        input_quantizer="ste_sign",
        kernel_quantizer="ste_sign",
        kernel_constraint="weight_clip",
        name="classifier",
    )
    model = tf.keras.Model(inputs, tf.keras.layers.Softmax()(dense(x)))
    x = rng.normal(size=(4, 16, 16, 8)).astype(np.float32)
    assert verify(model, x).float_layers == ("classifier",)


def test_wrong_answers_are_caught(rng):
    """The converter's known miscompilation: symmetric padding of a strided convolution."""
    inputs = tf.keras.Input((16, 16, 3))
    x = tf.keras.layers.ZeroPadding2D(3)(inputs)
    x = tf.keras.layers.Conv2D(8, 7, strides=2, name="strided")(x)
    x = tf.keras.layers.GlobalAveragePooling2D()(binary_conv()(x))
    x = tf.keras.layers.BatchNormalization(momentum=0)(x)
    model = tf.keras.Model(inputs, tf.keras.layers.Softmax()(x))
    images = pictures(rng, 256)
    model(images, training=True)  # spreads the answers over the classes
    first, *others = verify(model, images).problems
    assert "the first that does not ends at layer quant_conv2d" in first
    assert "must agree with Keras on 98%" in others[0]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: small(input_shape=(None, None, 3), include_top=False), "fixed input size"),
        (lambda: tf.keras.Sequential([tf.keras.layers.Dense(3)]), "functional, with one input"),
    ],
)
def test_models_that_cannot_be_converted_are_refused(model, message):
    with pytest.raises(InputError, match=message):
        lowering.lower(model())


def test_a_model_without_binary_convolutions_is_refused(rng):
    model = binary_model(tf.keras.layers.Conv2D(3, 3), shape=(16, 16, 3))
    with pytest.raises(InputError, match="must have binary convolutions"):
        verify(model, pictures(rng))


def test_mixed_precision_is_refused():
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = small()
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    with pytest.raises(InputError, match="must compute in float32; layer .* float16"):
        lowering.lower(model)


def test_operators_that_the_engine_does_not_know_are_refused():
    inputs = tf.keras.Input((16, 16, 3))
    outputs = tf.keras.layers.Lambda(lambda x: tf.math.igamma(x, x))(inputs)
    with pytest.raises(InputError, match="must be known to Larq Compute Engine; .*Igamma"):
        lowering.lower(tf.keras.Model(inputs, outputs))


def test_errors_of_the_converter_are_shown(monkeypatch):
    def fail(folder):
        raise RuntimeError("the real reason\nand its trace")

    monkeypatch.setattr(lowering.lce, "convert_saved_model", fail)
    with pytest.raises(InputError, match="cannot convert reactnet_a: the real reason$"):
        lowering.lower(one_block())


def test_nothing_is_written_when_the_check_fails(rng, tmp_path, monkeypatch):
    target = tmp_path / "out" / "model.tflite"
    images = pictures(rng)
    images[:] = np.nan
    with pytest.raises(InputError, match="must be finite"):
        conversion.convert(one_block(), target, CARD, images, LABELS)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A file with a class name of two lines, and the report of its check."""
    tf.keras.utils.set_random_seed(1)
    rng, target = np.random.default_rng(7), tmp_path_factory.mktemp("written") / "model.tflite"
    model = small()
    randomize(model, rng, 0.01)
    card = replace(CARD, class_names=("a", "b\nc", "d"))
    return target, conversion.convert(model, target, card, pictures(rng), LABELS)


def test_the_file_carries_what_predicting_needs(written, rng):
    target, _ = written
    assert {p.name for p in target.parent.iterdir()} == {"model.tflite", "model.tflite.json"}
    assert Card.read(target) == replace(CARD, class_names=("a", "b\nc", "d"))
    with zipfile.ZipFile(target) as archive:
        assert archive.read("labels.txt") == b"a\nb c\nd\n"
        assert json.loads(archive.read("larq_insta.json"))["preprocessing"]["size"] == 16
        kinds = {member.compress_type for member in archive.infolist()}
    assert kinds == {zipfile.ZIP_STORED}  # others are refused by TFLite's tools
    model = runtime.open_model(target)
    assert model.predict(pictures(rng, 2)).shape == (2, 3)


def test_a_target_of_another_kind_is_refused(rng, tmp_path):
    with pytest.raises(InputError, match=r"must be called \*.tflite; got"):
        conversion.convert(one_block(), tmp_path / "model.onnx", CARD, pictures(rng), LABELS)


@pytest.mark.slow
def test_the_report_stands_beside_the_file(written):
    target, report = written
    kept = json.loads(target.with_name("model.tflite.json").read_text())
    assert kept.items() >= json.loads(json.dumps(report.as_dict())).items()
    assert kept["versions"].keys() >= {"larq_insta", "larq-compute-engine"}
    assert kept["problems"] == []
    assert kept["blocks"][0]["name"] == "stage1_block1_conv"
    assert kept["keras_accuracy"] == kept["file_accuracy"]


def test_a_file_that_differs_is_written_only_if_told_to(rng, tmp_path):
    target = tmp_path / "model.tflite"
    stem = tf.keras.layers.Conv2D(8, 3)
    model = binary_model(binary_conv(groups=2), stem, shape=(16, 16, 3))
    card = replace(CARD, class_names=tuple("abcdefgh"))
    images, labels = pictures(rng, 4), np.zeros(4, np.int64)
    with pytest.raises(InputError, match="0 of 1 did.*not written .--allow-differences would"):
        conversion.convert(model, target, card, images, labels)
    assert list(tmp_path.iterdir()) == []
    report = conversion.convert(model, target, card, images, labels, allow_differences=True)
    assert target.exists()
    assert "Not equal: Every binary" in report.describe()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_float_weights_are_stored_smaller_and_the_blocks_still_compared(kind, rng, tmp_path):
    model = small(filters=(32, 64))
    randomize(model, rng, 0.01)
    sizes = {}
    for stored in ("float32", kind):
        target = tmp_path / f"{stored}.tflite"
        report = conversion.convert(
            model, target, CARD, pictures(rng), LABELS, float_weights=stored, allow_differences=True
        )
        assert not any(block.differs for block in report.blocks)
        sizes[stored] = target.stat().st_size
        assert runtime.open_model(target).predict(pictures(rng, 2)).shape == (2, 3)
    assert sizes[kind] < sizes["float32"]


@pytest.mark.slow
def test_a_file_for_any_runtime_is_verified_too(rng, tmp_path):
    model = small()
    randomize(model, rng, 0.01)
    target = tmp_path / "model.tflite"
    report = conversion.convert(model, target, CARD, pictures(rng), LABELS, runtime="tflite")
    assert report.binary_convolutions == report.expected_convolutions == 4
    assert report.signs > 0
    assert len(report.blocks) > 4
    stock = tf.lite.Interpreter(str(target))
    stock.allocate_tensors()
    stock.set_tensor(stock.get_input_details()[0]["index"], pictures(rng, 1))
    stock.invoke()
    assert json.loads((tmp_path / "model.tflite.json").read_text())["runtime"] == "tflite"


def test_an_unknown_runtime_is_refused(rng, tmp_path):
    with pytest.raises(InputError, match="runtime lce or tflite; got 'onnx'"):
        conversion.convert(
            one_block(), tmp_path / "m.tflite", CARD, pictures(rng), LABELS, runtime="onnx"
        )
