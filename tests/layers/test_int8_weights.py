"""Weights rounded in training, and the int8 file that holds them exactly."""

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from conftest import randomize
from larq_compute_engine.tflite.python.interpreter import Interpreter

from larq_insta import models
from larq_insta.conversion import folding, lowering
from larq_insta.layers.int8_weights import Int8Weights
from larq_insta.rewriting import float_weights
from larq_insta_runtime.graph import Graph

SMALL = {"input_shape": (16, 16, 3), "stem": "small", "num_classes": 10}
KINDS = {
    "ReActNet18": {"filters": (32, 64)},
    "InstaResNet18": {"filters": (32, 64), "insta_blocks": "all"},
    "InstaMobileNetV1": {"filters": (32, 64, 128)},
}


pytestmark = pytest.mark.usefixtures("short_stages")


def trained(name, rng, rounded="int8", **arguments):
    model = models.get(name)(**SMALL, **KINDS[name], float_weights=rounded, **arguments)
    randomize(model, rng, 0.05)
    return model


def outputs(content, images):
    interpreter = Interpreter(content, num_threads=1)
    return np.concatenate([interpreter.predict(image[None]) for image in images])


@pytest.mark.parametrize("shape", [(3, 3, 4, 6), (5, 7)])
def test_it_rounds_to_127_steps_of_each_channel(shape, rng):
    weights = rng.normal(size=shape).astype(np.float32)
    weights[..., 1] = 0
    step = np.abs(weights).reshape(-1, shape[-1]).max(0) / np.float32(127)
    steps = np.rint(np.divide(weights, step, out=np.zeros_like(weights), where=step > 0))
    assert set(np.abs(steps).reshape(-1, shape[-1]).max(0)) == {0, 127}
    np.testing.assert_allclose(Int8Weights()(weights), steps * step, rtol=1e-6)


def test_it_passes_its_gradient_on(rng):
    weights, upstream = (tf.constant(rng.normal(size=(3, 3, 2, 4))) for _ in range(2))
    quantizer = Int8Weights(dtype="float64")
    with tf.GradientTape() as tape:
        tape.watch(weights)
        rounded = quantizer(weights)
    np.testing.assert_array_equal(tape.gradient(rounded, weights, upstream), upstream)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning")
def test_rounded_models_save_and_load(suffix, rng, tmp_path):
    model = trained("InstaResNet18", rng)
    model.save(tmp_path / f"model{suffix}")
    loaded = tf.keras.models.load_model(tmp_path / f"model{suffix}")
    images = rng.normal(size=(2, 16, 16, 3)).astype(np.float32)
    np.testing.assert_array_equal(loaded(images), model(images))
    kinds = {layer.name: layer for layer in loaded.layers}
    for name in ("stem_conv", "stage2_block1_shortcut_conv", "head_logits"):
        assert isinstance(kinds[name].kernel_quantizer, Int8Weights)


def test_summary_counts_eight_bits(rng):
    plain, rounded = (
        lq.models.ModelProfile(trained("InstaResNet18", rng, kind)) for kind in ("float32", "int8")
    )
    kernels = 3 * 3 * 3 * 32 + 32 * 64 + 64 * 10
    assert plain.memory - rounded.memory == 24 * kernels


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_the_int8_file_computes_what_was_trained(name, rng):
    images = rng.normal(size=(8, 16, 16, 3)).astype(np.float32)
    files = {
        rounded: lowering.lower(folding.fold(trained(name, rng, rounded)))
        for rounded in ("int8", "float32")
    }
    differences = {}
    for rounded, exact in files.items():
        stored = float_weights.store(exact, "int8")
        assert len(stored) < len(exact)
        differences[rounded] = np.abs(outputs(stored, images) - outputs(exact, images)).max()
    assert differences["int8"] < 1e-5
    assert differences["float32"] > 1e-3
    names = [[operator.name for operator in Graph(file).operators] for file in files.values()]
    assert names[0] == names[1]  # no operator more for the rounding


@pytest.mark.slow
def test_the_int8_file_of_an_unfolded_model_does_so_too(rng):
    images = rng.normal(size=(8, 16, 16, 3)).astype(np.float32)
    exact = lowering.lower(trained("InstaResNet18", rng))
    stored = float_weights.store(exact, "int8")
    np.testing.assert_allclose(outputs(stored, images), outputs(exact, images), atol=1e-5)


def test_other_float_weights_are_refused():
    with pytest.raises(ValueError, match="`float_weights` must be 'float32' or 'int8'; got 'int4'"):
        models.ReActNet18(float_weights="int4")
