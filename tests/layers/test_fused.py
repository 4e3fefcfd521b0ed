"""What training computes in fused passes is what plain operations compute."""

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from conftest import randomize

from larq_insta.layers import InstaPReLU, InstaThreshold, RPReLU, fused, statistics
from larq_insta.layers.quantizers import LeanApproxSign

LAYERS = {
    "threshold": InstaThreshold,
    "threshold_plus": lambda **k: InstaThreshold(reduction_ratio=2, **k),
    "threshold_stopped": lambda **k: InstaThreshold(stop_gradient=True, **k),
    "rprelu": RPReLU,
    "prelu": InstaPReLU,
    "prelu_all": lambda **k: InstaPReLU(instance_aware=("gamma", "slope", "zeta"), **k),
}
SHAPES = [(3, 4), (2, 7, 4), (2, 4, 6, 4), (2, 17, 19, 4), (2, 3, 4, 2, 4)]


def outcome(layer, x, upstream, training):
    """Output, and the gradients of input and weights."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=training)
    return [y, *tape.gradient(y, [x, *layer.trainable_variables], upstream)]


@pytest.mark.quick(8)
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_training_is_inference_without_batch_statistics(kind, shape, rng):
    layer = LAYERS[kind](dtype="float64")
    x, upstream = (tf.constant(rng.normal(size=shape)) for _ in range(2))
    layer.build(shape)
    randomize(layer, rng, 0.5)
    pairs = zip(*(outcome(layer, x, upstream, mode) for mode in (True, False)), strict=True)
    for fast, plain in pairs:
        np.testing.assert_allclose(fast, plain, rtol=1e-9, atol=1e-12)


@pytest.mark.quick(2)
@pytest.mark.parametrize("kind", LAYERS)
def test_maps_of_unknown_size(kind, rng):
    layer = LAYERS[kind]()
    layer.build((None, None, None, 4))
    randomize(layer, rng, 0.5)
    inputs = tf.keras.Input((None, None, 4))
    model = tf.keras.Model(inputs, layer(inputs))
    step = tf.function(lambda x, g: outcome(model, x, g, True), reduce_retracing=True)
    for size in (3, 5, 8):
        x, upstream = (tf.random.normal((2, size, size, 4)) for _ in range(2))
        for fast, plain in zip(step(x, upstream), outcome(layer, x, upstream, False), strict=True):
            np.testing.assert_allclose(fast, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["threshold", "rprelu", "prelu_all"])
def test_half_precision_computes_in_float32(kind, rng):
    layer = LAYERS[kind](dtype="mixed_float16")
    x = tf.constant(rng.normal(scale=30, size=(2, 8, 8, 4)), tf.float16)  # cubes overflow float16
    upstream = tf.ones_like(x)
    layer.build(x.shape)
    randomize(layer, rng, 1e-4)
    wide = type(layer).from_config({**layer.get_config(), "dtype": "float32"})
    wide.build(x.shape)
    wide.set_weights(layer.get_weights())
    exact = outcome(wide, tf.cast(x, tf.float32), tf.cast(upstream, tf.float32), False)
    for value, expected in zip(outcome(layer, x, upstream, True), exact, strict=True):
        assert np.isfinite(value).all()
        np.testing.assert_allclose(value, expected, rtol=4e-3, atol=4e-3)


def test_nothing_but_the_input_is_kept_for_the_backward_pass():
    """Whatever the forward pass of training makes of the maps' size is its output."""
    shape = (2, 16, 16, 4)
    layer = InstaPReLU(instance_aware=("gamma", "slope", "zeta"))
    layer.build(shape)
    graph = tf.function(lambda x: layer(x, training=True)).get_concrete_function(
        tf.TensorSpec(shape)
    )
    large = [
        op for op in graph.graph.get_operations() if op.outputs and op.outputs[0].shape == shape
    ]
    assert {op.type for op in large} <= {"Placeholder", "IdentityN", "Identity", "PartitionedCall"}
    assert sum(op.type == "PartitionedCall" for op in large) == 1


def test_what_is_lowered_for_devices_is_not_compiled():
    layer = InstaPReLU()
    layer.build((1, 8, 8, 4))
    graph = tf.function(lambda x: layer(x, training=False)).get_concrete_function(
        tf.TensorSpec((1, 8, 8, 4))
    )
    assert not any("Call" in op.type for op in graph.graph.get_operations())


@pytest.mark.parametrize("positions", [(1, 1), (7, 7), (17, 19), (56, 56), (4096,)])
def test_parts_are_together_the_whole(positions, rng):
    x = tf.constant(rng.normal(size=(2, *positions, 3)))
    split = fused.parts(x)
    assert len(split) <= 8
    total = fused.instance_sum(tf.add_n(split), x.shape.rank)
    axes = range(1, x.shape.rank - 1)
    np.testing.assert_allclose(total, np.sum(x, axis=tuple(axes), keepdims=True))


def test_one_function_serves_many_shapes_without_warning(caplog):
    for size in range(2, 16):
        statistics.cube_mean_in_training(tf.ones((1, size, size, 2)))
    assert "retracing" not in caplog.text


def test_lean_approx_sign_is_larqs(rng):
    x = tf.constant(rng.normal(size=(2, 5, 5, 3)), tf.float32)
    x = tf.concat([x, [[[[-1.0, 0.0, 1.0]] * 5]] * 2], axis=1)
    upstream = tf.constant(rng.normal(size=x.shape), tf.float32)
    expected = outcome(lq.quantizers.ApproxSign(), x, upstream, True)
    for training in (True, False):
        for value, correct in zip(
            outcome(LeanApproxSign(), x, upstream, training), expected, strict=True
        ):
            np.testing.assert_allclose(value, correct, rtol=1e-6)


def used(outputs):
    return any(output.consumers() for output in outputs) or "Identity" in outputs[0].op.type


def test_lean_approx_sign_keeps_nothing_but_its_input():
    @tf.function
    def step(x, upstream):
        return outcome(LeanApproxSign(), x, upstream, True)

    spec = tf.TensorSpec((2, 16, 16, 4))
    operations = step.get_concrete_function(spec, spec).graph.get_operations()
    large = [
        op.type
        for op in operations
        if op.outputs and op.outputs[0].shape == spec.shape and used(op.outputs)
    ]
    assert large.count("PartitionedCall") == 2  # forward and backward
    assert set(large) <= {"Placeholder", "IdentityN", "Identity", "PartitionedCall"}


def test_a_threshold_does_not_keep_its_input():
    shape = (2, 16, 16, 4)
    layer = InstaThreshold(normalization="statistic")
    layer.build(shape)

    @tf.function
    def step(x, upstream):
        return outcome(layer, x * 1.0, upstream, True)

    spec = tf.TensorSpec(shape)
    operations = step.get_concrete_function(spec, spec).graph.get_operations()
    (product,) = [op for op in operations if op.type == "Mul" and op.outputs[0].shape == shape]
    (passed,) = {op for op in product.outputs[0].consumers() if op.type == "IdentityN"}
    maps = [output for output in passed.outputs if output.shape == shape]
    assert {op.type for output in maps for op in output.consumers()} == {"AddV2"}
    users = [op.type for op in product.outputs[0].consumers()]
    assert set(users) == {"Identity", "IdentityN", "PartitionedCall"}
    assert users.count("PartitionedCall") == 1  # that of the cubes
