"""Operators that run in passes over maps, against the same ones alone in LiteRT's own kernels."""

from pathlib import Path

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from conftest import randomize

from larq_insta import models
from larq_insta.conversion import folding, lowering
from larq_insta_runtime import kernels, load_delegate, packaged
from larq_insta_runtime.delegate import saved_bytes
from larq_insta_runtime.graph import BINARY_INPUT, Graph
from larq_insta_runtime.parts import random_inputs, severed

SMALL = {"input_shape": (20, 20, 3), "stem": "small", "num_classes": 3}
# Widths that fill no vector, and from 64 on statistics are depthwise convolutions.
NETWORKS = {
    "static": ("ReActNet18", {"filters": (20, 70)}),
    "static, concatenated": ("ReActNetA", {"filters": (10, 20, 40)}),
    "instance-aware": ("InstaResNet18", {"filters": (20, 70), "insta_blocks": "all"}),
    "every parameter": (
        "InstaResNet18",
        {
            "filters": (66,),
            "insta_blocks": "all",
            "prelu": {"instance_aware": ("gamma", "slope", "zeta")},
        },
    ),
    "plus": ("InstaResNet18", {"filters": (64,), "plus": True, "insta_blocks": "all"}),
    "concatenated": ("InstaMobileNetV1", {"filters": (35, 70), "insta_blocks": "all"}),
    "variance": (
        "InstaResNet18",
        {"filters": (66,), "insta_blocks": "all", "threshold": {"statistic": "variance"}},
    ),
}
pytestmark = pytest.mark.usefixtures("short_stages")


def network_of(name, fold, rng):
    kind, arguments = NETWORKS[name]
    model = models.get(kind)(**SMALL, **arguments)
    randomize(model, rng, 0.1)
    return lowering.lower(folding.fold(model) if fold else model)


def blocks_of(content):
    """From what thresholds are subtracted from on, each of which is given."""
    graph = Graph(content)
    makers = {tensor.index: op for op in graph.operators for tensor in op.outputs}
    read = [op.inputs[0] for op in graph.operators if op.name == BINARY_INPUT]
    maps = [makers[tensor.index].inputs[0] for tensor in read if tensor.index in makers]
    cuts = {tensor.index: tensor for tensor in maps if tensor.index in makers}
    return severed(graph, list(cuts.values()), [*graph.outputs, *cuts.values()])


def run(content, options):
    delegate = load_delegate(options)
    interpreter = Interpreter(model_content=content, experimental_delegates=[delegate])
    interpreter.allocate_tensors()
    for entry, values in zip(interpreter.get_input_details(), random_inputs(content), strict=True):
        interpreter.set_tensor(entry["index"], values)
    for _ in range(2):  # what is held from one inference must not change the next
        interpreter.invoke()
    answers = [interpreter.get_tensor(e["index"]) for e in interpreter.get_output_details()]
    return answers, saved_bytes(delegate)


def assert_same_in_passes(content):
    alone, nothing = run(content, {"fuse": 0})
    assert nothing == 0
    for kind in kernels():
        found, saved = run(content, {"kernels": kind})
        assert saved > 0
        for a, b in zip(alone, found, strict=True):
            np.testing.assert_allclose(b, a, rtol=0, atol=1e-5 * np.abs(a).max(), err_msg=kind)


@pytest.mark.quick(4)
@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_blocks_are_the_same_in_passes_and_alone(name, fold, rng):
    assert_same_in_passes(blocks_of(network_of(name, fold, rng)))


def test_blocks_of_an_older_file_are(rng):
    """Statistics of squared differences, and thresholds that are subtracted."""
    content = packaged.find(Path("fashion_mnist")).read_bytes()
    assert Graph(content).counts["SQUARED_DIFFERENCE"] > 0
    assert Graph(content).counts["SUB"] > 0
    assert_same_in_passes(blocks_of(content))


@pytest.mark.parametrize("name", ["static", "static, concatenated"])
def test_whole_networks_are(name, rng):
    """Maps are written over others here. Without sums of another order no sign may flip."""
    assert_same_in_passes(network_of(name, True, rng))


def test_a_map_that_is_read_later_is_not_written_over(rng):
    inputs = first = tf.keras.Input((8, 8, 32))
    maps = []
    for _ in range(4):
        x = lq.layers.QuantConv2D(
            32, 3, padding="same", pad_values=1.0, input_quantizer="ste_sign",
            kernel_quantizer="ste_sign",
        )(first)  # fmt: skip
        first = tf.keras.layers.PReLU(shared_axes=(1, 2))(tf.keras.layers.Add()([x, first]))
        maps.append(first)
    x = tf.keras.layers.Add()([maps[-1], maps[0]])
    model = tf.keras.Model(
        inputs,
        lq.layers.QuantConv2D(32, 1, input_quantizer="ste_sign", kernel_quantizer="ste_sign")(x),
    )
    randomize(model, rng, 0.1)
    assert_same_in_passes(lowering.lower(model))


def test_any_number_of_threads_gives_the_same_bits(rng):
    content = network_of("concatenated", True, rng)
    expected, _ = run(content, {"num_threads": 1})
    for threads in (2, 3, 16):
        found, _ = run(content, {"num_threads": threads})
        for a, b in zip(expected, found, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("fuse", ["2", "yes", ""])
def test_fusing_is_0_or_1(fuse):
    with pytest.raises(Exception, match="fuse .0 or 1"):
        load_delegate({"fuse": fuse})
