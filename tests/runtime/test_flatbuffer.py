"""What a file's operators are, what they move, and files of parts of it."""

import numpy as np
import pytest
from conftest import randomize

from larq_insta import models, runtime
from larq_insta.conversion import folding, lowering
from larq_insta.rewriting import float_weights
from larq_insta_runtime import benchmarking, flatbuffer
from larq_insta_runtime.engine import Interpreter
from larq_insta_runtime.graph import Graph

pytestmark = pytest.mark.usefixtures("short_stages")


@pytest.fixture(scope="module")
def model():
    model = models.InstaResNet18(
        input_shape=(16, 16, 3), stem="small", num_classes=3, filters=(8, 64), insta_blocks="all"
    )
    randomize(model, np.random.default_rng(0), 0.01)
    return model


@pytest.fixture(scope="module")
def content(model):
    return lowering.lower(folding.fold(model))


def test_tensors_name_their_layers(content):
    made = {tensor.layer for op in Graph(content).operators for tensor in op.outputs}
    assert {"stem_batch_norm", "stage2_block1_prelu", "stage1_block1_threshold"} <= made


def test_traffic_of_a_block_is_what_can_be_counted_by_hand():
    model = models.ReActNet18(input_shape=(16, 16, 3), stem="small", num_classes=3, filters=(32,))
    randomize(model, np.random.default_rng(0), 0.01)
    size, packed, vector = 16 * 16 * 32 * 4, 16 * 16 * 4, 32 * 4
    pool, softmax = size + vector, 3 * 4 * 2
    # Threshold, binary input, shortcut and PReLU; unfolded the PReLU's two shifts too.
    block = (2 * size + vector) + (size + packed) + 3 * size + (2 * size + vector)
    shifts = 2 * (2 * size + vector)
    folded = Graph(lowering.lower(folding.fold(model)))
    assert folded.traffic == 2 * block + pool + softmax
    assert Graph(lowering.lower(model)).traffic == 2 * (block + shifts) + pool + softmax


def test_passes_move_each_map_once():
    model = models.ReActNet18(input_shape=(16, 16, 3), stem="small", num_classes=3, filters=(32,))
    randomize(model, np.random.default_rng(0), 0.01)
    content = lowering.lower(folding.fold(model))
    size, packed, vector = 16 * 16 * 32 * 4, 16 * 16 * 4, 32 * 4
    pool, softmax = size + vector, 3 * 4 * 2
    # The first map is read to be quantized. A block then reads its shortcut and writes its map, of
    # which the first is quantized before it leaves.
    first = size + vector + packed
    block, quantization = size + size + vector, vector + packed
    moved = first + 2 * block + quantization + pool + softmax
    assert Graph(content).traffic - Interpreter(content).saved_bytes == moved


def test_a_tensor_read_twice_counts_once(content):
    squares = [op for op in Graph(content).operators if op.inputs[0] in op.inputs[1:]]
    assert squares
    for op in squares:
        assert op.traffic == op.inputs[0].size + op.outputs[0].size


class SteadyClock(benchmarking.Stopwatch):
    """Runs the file, and takes a millisecond for every copy in it: an operator and a slice."""

    def __init__(self, content, num_threads):
        self.operators = len(Graph(content).operators)
        super().__init__(content, num_threads)

    def seconds(self):
        assert super().seconds() > 0
        return self.operators * 0.5e-3


@pytest.mark.quick(1)
@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_every_operator_is_timed_alone(content, kind, monkeypatch):
    monkeypatch.setattr(benchmarking, "Stopwatch", SteadyClock)
    content = float_weights.store(content, kind)
    times = benchmarking.operator_times(content, runs=1)
    graph = Graph(content)
    assert sum(group.count for group in times) == len(graph.operators)
    for group in times:  # stored filters are unpacked but once, at the start
        each = 0 if group.name == "DEQUANTIZE" else 1e-3
        assert group.seconds == pytest.approx(each * group.count), group
    assert {"LceBconv2d", "CONV_2D"} <= {group.name for group in times}
    assert ("DEQUANTIZE" in {group.name for group in times}) == (kind == "int8")
    table = benchmarking.operator_table(times).splitlines()
    assert table[-1].startswith(f"| sum | | | {len(graph.operators)} |")


def test_stored_filters_move_nothing_at_each_picture(content):
    assert Graph(float_weights.store(content, "int8")).traffic == Graph(content).traffic


def test_matrix_products_are_no_traffic(content):
    graph = Graph(content)
    moved = {op.name: op.traffic for op in graph.operators if not op.is_matrix_product}
    assert not {"CONV_2D", "LceBconv2d", "FULLY_CONNECTED"} & moved.keys()
    assert "DEPTHWISE_CONV_2D" in moved


def test_a_file_keeps_its_answers_when_packed_anew(content, rng):
    images = rng.normal(size=(2, 16, 16, 3)).astype(np.float32)
    unpacked = flatbuffer.unpack(content)
    anew = flatbuffer.pack(unpacked)
    assert len(anew) < len(content)
    assert flatbuffer.pack(unpacked) == anew == flatbuffer.pack(flatbuffer.unpack(anew))
    np.testing.assert_array_equal(
        runtime.Interpreter(anew).predict(images), runtime.Interpreter(content).predict(images)
    )
