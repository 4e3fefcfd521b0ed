"""Channels that a ReLU holds at 0, whose bias Larq Compute Engine's sums would round away."""

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from conftest import BINARY

from larq_insta.conversion import lowering
from larq_insta.conversion.engine import Interpreter as LarqInterpreter
from larq_insta.rewriting import large_scales
from larq_insta_runtime.engine import Interpreter
from larq_insta_runtime.graph import BINARY_CONVOLUTION, Graph

CHANNELS = 64
DEAD = 5


def network(activation, dead, channels=CHANNELS):
    """Binary convolutions, one channel of which is at 0 for all pictures."""
    inputs = tf.keras.Input((4, 4, channels))
    conv = lq.layers.QuantConv2D(channels, 3, activation=activation, **BINARY)
    norm = tf.keras.layers.BatchNormalization(epsilon=1e-5)
    model = tf.keras.Model(inputs, norm(conv(inputs)))
    rng = np.random.default_rng(0)
    variance = np.full(channels, 200.0)
    if dead:
        kernel = conv.kernel.numpy()
        kernel[..., DEAD] = -1
        conv.kernel.assign(kernel)
        variance[DEAD] = 1e-9
    norm.beta.assign(rng.uniform(0.1, 0.2, channels))
    norm.moving_variance.assign(variance)
    return model


def pictures(channels=CHANNELS):
    """Of which the dead channel's sums are negative."""
    return np.random.default_rng(1).uniform(-0.1, 1, (1, 4, 4, channels)).astype(np.float32)


@pytest.mark.parametrize("kind", [LarqInterpreter, Interpreter])
def test_a_dead_channels_bias_is_exact(kind, monkeypatch):
    model, x = network("relu", dead=True), pictures()
    wanted = model(x).numpy()
    assert np.ptp(wanted[..., DEAD]) == 0
    (found,) = kind(lowering.lower(model)).run([x])
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr(lowering, "keep_exact", lambda content: content)
    (rounded,) = kind(lowering.lower(model)).run([x])
    assert np.abs(rounded - wanted)[..., DEAD].max() > 1e-3 * wanted[..., DEAD].max()


@pytest.mark.parametrize(("activation", "dead"), [("relu", False), (None, True)])
def test_others_stay_one_operator(activation, dead):
    graph = Graph(lowering.lower(network(activation, dead)))
    assert graph.counts[BINARY_CONVOLUTION] == 1
    assert not {"MUL", "ADD"} & set(graph.counts)


def test_a_file_that_needs_nothing_stays_as_it_is():
    content = lowering.lower(network("relu", dead=False))
    assert large_scales.keep_exact(content) is content
