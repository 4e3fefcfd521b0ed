"""Larq Zoo's models and ours in stock LiteRT, against Larq Compute Engine's interpreter, by blocks.

A block begins with what a quantization reads, which is given, so that no sign that flips changes
what comes behind.
"""

import larq_zoo as lz
import numpy as np
import pytest

from larq_insta import models
from larq_insta.conversion import lowering
from larq_insta.conversion.engine import Interpreter as LarqInterpreter
from larq_insta_runtime.engine import Interpreter
from larq_insta_runtime.graph import BINARY_CONVOLUTION, BINARY_INPUT, Graph
from larq_insta_runtime.parts import random_inputs, severed

ZOO = {
    **{name: getattr(lz.sota, name) for name in ("QuickNet", "QuickNetSmall", "QuickNetLarge")},
    **{
        name: getattr(lz.literature, name)
        for name in (
            "BinaryAlexNet", "BiRealNet", "BinaryResNetE18", "BinaryDenseNet28",
            "BinaryDenseNet37", "BinaryDenseNet37Dilated", "BinaryDenseNet45", "MeliusNet22",
            "RealToBinaryNet", "XNORNet", "DoReFaNet",
        )
    },
}  # fmt: skip
OURS = ("ReActNet18", "InstaResNet18", "ReActNetA", "InstaMobileNetV1")
TOLERANCE = 1e-5
"""Of the largest number of an output; sums are of another order than in the engine's kernels."""


def largest_difference(content):
    graph = Graph(content)
    binary = [op for op in graph.operators if op.name == BINARY_CONVOLUTION]
    cuts = {op.inputs[0].index: op.inputs[0] for op in graph.operators if op.name == BINARY_INPUT}
    cuts = [tensor for tensor in cuts.values() if not tensor.constant]
    assert len(binary) > 4
    assert len(cuts) > 4
    made = {tensor.index for op in graph.operators for tensor in op.outputs}
    outputs = [*graph.outputs, *(tensor for tensor in cuts if tensor.index in made)]
    blocks = severed(graph, cuts, outputs)
    inputs = random_inputs(blocks)
    theirs, ours = LarqInterpreter(blocks).run(inputs), Interpreter(blocks).run(inputs)
    assert len(ours) == len(outputs)
    return max(np.abs(a - b).max() / np.abs(a).max() for a, b in zip(theirs, ours, strict=True))


@pytest.mark.parametrize("name", OURS)
def test_our_models(name):
    model = models.get(name)(input_shape=(64, 64, 3))
    assert largest_difference(lowering.lower_as_trained(model)) <= TOLERANCE


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # of their conversion
@pytest.mark.parametrize("name", ZOO)
def test_models_of_larq_zoo(name):
    content = lowering.lower(ZOO[name](weights=None))
    assert largest_difference(content) <= TOLERANCE
