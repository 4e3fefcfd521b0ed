"""Larq Compute Engine's operators in stock LiteRT, against its own interpreter, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lce_files import conversion, convolution, pooling, valid_size

from larq_insta.conversion.engine import Interpreter as LarqInterpreter
from larq_insta_runtime import kernels, load_delegate
from larq_insta_runtime.errors import InputError

CHANNELS = st.sampled_from([1, 2, 31, 32, 33, 63, 64, 65, 96, 100, 127, 128, 130])
SIDE, WINDOW, STRIDE = st.integers(3, 12), st.sampled_from([1, 2, 3, 5]), st.integers(1, 3)
PADDING = st.sampled_from(["same", "valid"])
OUTPUTS = st.sampled_from(["float", "int8", "bits"])


def run(content, inputs, threads=1, **options):
    interpreter = Interpreter(
        model_content=content,
        experimental_delegates=[load_delegate(options)],
        num_threads=threads,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], inputs)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def numbers(rng, shape):
    """With zeros of both signs, whose bit is that of +1."""
    x = rng.normal(size=shape).astype(np.float32)
    x[rng.random(shape) < 0.1] = 0
    x[rng.random(shape) < 0.1] = -0.0
    return x


def assert_same(content, inputs):
    expected = LarqInterpreter(content).run([inputs])[0]
    for name in kernels():
        np.testing.assert_array_equal(run(content, inputs, kernels=name), expected, err_msg=name)
    np.testing.assert_array_equal(run(content, inputs, threads=3), expected)


def fits(shape, window, dilations=(1, 1)):
    sizes = zip(shape[1:3], window, dilations, strict=True)
    return all(valid_size(size, places, 1, dilation) > 0 for size, places, dilation in sizes)


def test_finds_all_kernels_that_the_processor_has():
    """As compilers differ in what they make of a question for it; Linux knows for itself."""
    flags = set(Path("/proc/cpuinfo").read_text().split())
    there = {"avx512": "avx512_vpopcntdq", "avx2": "avx2", "neon": "asimd"}
    assert kernels() == [*(name for name, flag in there.items() if flag in flags), "portable"]


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**16),
    shape=st.tuples(st.integers(1, 2), SIDE, SIDE, CHANNELS),
    filters=st.integers(1, 40),
    window=st.tuples(WINDOW, WINDOW),
    strides=st.tuples(STRIDE, STRIDE),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=PADDING,
    activation=st.integers(0, 3),
    output=OUTPUTS,
    scale=st.sampled_from([0.25, 1.0, 3.7]),
    zero_point=st.integers(-100, 100),
)
def test_convolutions(seed, shape, window, strides, dilations, activation, output, **options):
    assume(fits(shape, window, dilations))
    if max(dilations) > 1:  # the engine has no strides then
        strides = (1, 1)
    rng = np.random.default_rng(seed)
    content = convolution(
        rng,
        shape=shape,
        window=window,
        strides=strides,
        dilations=dilations,
        activation=0 if output == "bits" else activation,
        output=output,
        **options,
    )
    assert_same(content, numbers(rng, shape))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    groups=st.integers(2, 3),
    words=st.integers(1, 3),
    filters=st.integers(1, 20),
    size=SIDE,
    window=st.sampled_from([1, 3]),
    output=OUTPUTS,
)
def test_groups(seed, groups, words, filters, size, window, output):
    rng = np.random.default_rng(seed)
    shape = (1, size, size, 32 * words * groups)
    content = convolution(
        rng,
        shape=shape,
        filters=filters * groups,
        window=(window, window),
        groups=groups,
        output=output,
    )
    assert_same(content, numbers(rng, shape))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    shape=st.tuples(st.integers(1, 2), SIDE, SIDE, CHANNELS),
    window=st.sampled_from([(3, 3), (1, 3), (3, 1)]),
    strides=st.tuples(STRIDE, STRIDE),
)
def test_zeros_around_a_map_count_nothing(seed, shape, window, strides):
    """Against sums in NumPy, as the engine errs on small maps."""
    rng = np.random.default_rng(seed)
    options = {"shape": shape, "window": window, "strides": strides, "pad_values": 0}
    content, parts = convolution(rng, filters=7, returns_parts=True, **options)
    x = numbers(rng, shape)
    signs = np.where(x < 0, -1.0, 1.0)
    before = [
        max(0, (-(-n // s) - 1) * s + k - n) // 2
        for n, k, s in zip(shape[1:3], window, strides, strict=True)
    ]
    padded = np.pad(signs, ((0, 0), *((b, k) for b, k in zip(before, window, strict=True)), (0, 0)))
    patches = np.lib.stride_tricks.sliding_window_view(padded, window, axis=(1, 2))
    patches = patches[:, :: strides[0], :: strides[1]]
    patches = patches[:, : -(-shape[1] // strides[0]), : -(-shape[2] // strides[1])]
    sums = np.einsum("nyxcij,oijc->nyxo", patches, parts["kernel"])
    expected = sums * parts["multiplier"] + parts["bias"]
    for name in kernels():
        found = run(content, x, kernels=name)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3, err_msg=name)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**16),
    shape=st.tuples(st.integers(1, 2), SIDE, SIDE, CHANNELS),
    window=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(STRIDE, STRIDE),
    padding=PADDING,
)
def test_pooling(seed, shape, **options):
    content = pooling(shape=shape, **options)
    assert_same(content, numbers(np.random.default_rng(seed), shape))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**16),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    channels=st.integers(1, 130),
    dtype=st.sampled_from([np.float32, np.int8, np.bool_]),
    scale=st.sampled_from([0.01, 0.3, 1.0, 2.6]),
    zero_point=st.integers(-128, 127),
)
def test_numbers_become_bits_and_numbers_again(seed, shape, channels, dtype, scale, zero_point):
    rng, shape = np.random.default_rng(seed), (*shape, channels)
    quantized = {"scale": scale, "zero_point": zero_point} if dtype is np.int8 else {}
    content = conversion(shape=shape, dtype=dtype, **quantized)
    if dtype is np.float32:
        inputs = numbers(rng, shape)
        inputs.flat[0] = np.nan
    else:
        inputs = rng.integers(-128, 128, shape).astype(np.int8)
        inputs = inputs > 0 if dtype is np.bool_ else inputs
    assert_same(content, inputs)


@pytest.mark.parametrize(
    "options", [{"kernels": "none"}, {"num_threads": -1}, {"num_threads": "two"}, {"speed": 1}]
)
def test_unknown_options_are_refused(options):
    with pytest.raises(InputError, match="Options of larq_insta's delegate are num_threads"):
        load_delegate(options)
