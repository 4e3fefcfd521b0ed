"""What models cost, against published figures and counts by hand."""

import json
import sys

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from conftest import randomize, run

from larq_insta import models, profile
from larq_insta.conversion import lowering
from larq_insta.layers import InstaPReLU, InstaThreshold
from larq_insta.layers.quantizers import InstaSign
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.graph import Graph

FILTERS = {
    name: (8, 8, 16) if "Mobile" in name or name == "ReActNetA" else (8, 16)
    for name in models.MODELS
}
pytestmark = pytest.mark.usefixtures("short_stages")


@pytest.mark.quick(2)
@pytest.mark.parametrize("name", models.MODELS)
def test_it_agrees_with_larq_wherever_both_count(name):
    filters = {} if name == "InstaRealToBinary" else {"filters": FILTERS[name]}
    blocks = {"section_blocks": (1, 2)} if name == "InstaQuickNet" else {}
    model = models.get(name)(input_shape=(64, 64, 3), num_classes=10, **filters, **blocks)
    costs, larq = profile(model), lq.models.ModelProfile(model)
    for layer, theirs in zip(costs.layers, larq.layer_profiles, strict=True):
        assert layer.name == theirs.name
        assert layer.binary_weights == theirs.weight_count(1)
        assert layer.float_weights == theirs.weight_count(32)
        assert layer.bops == (theirs.op_count("mac", 1) or 0)
        assert layer.macs == (theirs.op_count("mac", 32) or 0)
    assert costs.larq_size * 8 == larq.memory
    assert costs.total.bops == larq.op_count("mac", 1)


def convolution(quantizer):
    return lq.layers.QuantConv2D(
        8, 3, padding="same", pad_values=1.0, input_quantizer=quantizer,
        kernel_quantizer="ste_sign", kernel_constraint="weight_clip", use_bias=False,
    )  # fmt: skip


def cost_of(*layers, shape=(10, 12, 6)):
    return profile(tf.keras.Sequential([tf.keras.Input(shape), *layers])).total


def test_a_quantizer_costs_what_its_layer_costs_in_front_of_the_convolution():
    """Where Larq counts the quantizer's weights as those of the convolution."""
    quantizer = InstaSign(InstaThreshold(reduction_ratio=2))
    inside = cost_of(convolution(quantizer))
    outside = cost_of(InstaThreshold(reduction_ratio=2), convolution("approx_sign"))
    assert inside == outside
    assert (inside.bops, inside.macs) == (9 * 6 * 8 * 120, 0)
    larq = lq.models.ModelProfile(
        tf.keras.Sequential([tf.keras.Input((10, 12, 6)), convolution(InstaSign())])
    )
    assert larq.op_count("mac", 32) > 0


@pytest.mark.parametrize(
    ("layer", "operations"),
    [
        (InstaThreshold(), 2 * 720 + 6 + 6),
        (InstaThreshold("mean"), 6 + 6),
        (InstaThreshold("variance"), 720 + 6 + 6),
        (InstaThreshold("skewness"), 2 * 720 + 6 + 6),
        (InstaThreshold(normalization="statistic"), 2 * 720 + 6 + 6),
        (InstaThreshold(normalization="batch"), 3 * 720 + 6 + 6),
        (InstaThreshold(reduction_ratio=3), 2 * 720 + 6 + 6 + 2 * 6 * 2),
        (
            InstaThreshold(reduction_ratio=3, branch_combination="replace"),
            2 * 720 + 6 + 2 * 6 * 2,
        ),
        (InstaPReLU(), 2 * 720 + 6 + 6),
        (InstaPReLU(("gamma", "slope", "zeta")), 2 * 720 + 6 + 3 * 6),
        (InstaPReLU(()), 0),
        (InstaSign(), 2 * 720 + 6 + 6),
    ],
    ids=lambda x: x.name if isinstance(x, tf.keras.layers.Layer) else "",
)
def test_operations_of_each_layer(layer, operations):
    assert cost_of(layer).insta_operations == operations


def test_any_larq_model():
    inputs = tf.keras.Input((8, 8, 3))
    nested = tf.keras.Sequential([tf.keras.Input((8, 8, 3)), convolution("ste_sign")], name="in")
    x = tf.keras.layers.Flatten()(nested(inputs))
    x = lq.layers.QuantDense(5, input_quantizer="ste_sign", kernel_quantizer="ste_tern")(x)
    costs = profile(tf.keras.Model(inputs, x))
    assert costs.total.bops == 9 * 3 * 8 * 64
    assert costs.total.macs == 5 * 512  # of two bits: not binary
    assert costs.total.binary_weights == 9 * 3 * 8
    assert costs.size == (9 * 3 * 8 + 2 * 5 * 512) / 8 + 4 * 5


def test_what_has_no_cost_is_refused():
    class Subclassed(tf.keras.Model):
        pass

    with pytest.raises(InputError, match="functional or sequential .* got Subclassed 'sub'"):
        profile(Subclassed(name="sub"))
    with pytest.raises(InputError, match=r"fixed input size; got \(None, None, 3\)"):
        profile(models.ReActNet18(input_shape=(None, None, 3), include_top=False, filters=(4, 8)))


@pytest.mark.slow
def test_saved_operations_show_in_the_file(rng):
    """Fewer statistics: fewer means and multiplications in the flatbuffer, and fewer bytes."""
    settings = {"input_shape": (16, 16, 3), "stem": "small", "filters": (8, 16), "num_classes": 4}
    counts, profiles = {}, {}
    for blocks in ("all", "all_but_largest_maps"):
        for reuse in (False, True):
            model = models.InstaResNet18(insta_blocks=blocks, reuse_statistics=reuse, **settings)
            randomize(model, rng, 0.02)
            counts[blocks, reuse] = Graph(lowering.lower(model)).counts
            profiles[blocks, reuse] = profile(model).total.insta_operations
    means = {key: count["MEAN"] for key, count in counts.items()}
    assert means == {
        ("all", False): 8,
        ("all", True): 4 + 1,  # the PReLU of the widening block keeps its own
        ("all_but_largest_maps", False): 2,
        ("all_but_largest_maps", True): 1,
    }
    for smaller, larger in (
        (("all", True), ("all", False)),
        (("all_but_largest_maps", True), ("all", True)),
    ):
        assert counts[smaller]["MUL"] < counts[larger]["MUL"]
        assert profiles[smaller] < profiles[larger]


@pytest.mark.slow
def test_the_file_of_a_new_model_is_as_large_as_of_a_trained_one(rng):
    settings = {"input_shape": (16, 16, 3), "stem": "small", "filters": (8, 16), "num_classes": 4}
    model = models.InstaResNet18(**settings)
    before = model.get_weights()
    size = len(lowering.lower_as_trained(model, fold=False))
    for value, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, kept)
    assert len(lowering.lower(model)) < size
    randomize(model, rng, 0.02)
    assert len(lowering.lower(model)) == pytest.approx(size, rel=0.01)


SMALL = ["InstaResNet18", "--image-size", 32, "--filters", "8,16", "--classes", 7]


@pytest.mark.slow
def test_summary_prints_the_sums():
    output = run("summary", *SMALL, "--file-size")
    costs = profile(
        models.InstaResNet18(
            input_shape=(32, 32, 3), filters=(8, 16), num_classes=7, stem="imagenet"
        )
    )
    total = next(line for line in output.splitlines() if line.startswith("total"))
    numbers = [costs.total.binary_weights, costs.total.bops, costs.total.insta_operations]
    assert all(f"{number:,}" in total for number in numbers)
    assert "stage2_block2_prelu" in output
    assert f"= {costs.total.ops:.4g}" in output
    assert "As a .tflite file 0.0" in output


def test_summary_as_json_with_selection_and_reuse():
    def total(*options):
        return json.loads(run("summary", *SMALL, "--json", *options))["total"]

    everywhere = total("--insta-blocks", "all")["insta_operations"]
    assert everywhere > total()["insta_operations"]
    assert total("--no-reuse")["insta_operations"] > total()["insta_operations"]
    only = total("--insta-blocks", "stage2_block2")
    assert 0 < only["insta_operations"] < everywhere
    everything = json.loads(run("summary", *SMALL, "--json"))
    assert sum(layer["bops"] for layer in everything["layers"]) == everything["total"]["bops"]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_plot_is_written_whole(suffix, tmp_path):
    path = tmp_path / f"cost.{suffix}"
    run("summary", *SMALL, "--plot", path)
    start = path.read_bytes()[:200]
    assert start.startswith(b"\x89PNG") if suffix == "png" else b"<?xml" in start
    assert list(tmp_path.iterdir()) == [path]


def test_bad_plots_are_refused(tmp_path, monkeypatch):
    output = run("summary", *SMALL, "--plot", tmp_path / "cost.doc", code=2)
    assert "must be called *.png, *.svg, *.pdf; got" in output
    (tmp_path / "file").touch()
    output = run("summary", *SMALL, "--plot", tmp_path / "file" / "cost.png", code=2)
    assert "cost.png" in output
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    output = run("summary", *SMALL, "--plot", tmp_path / "cost.png", code=2)
    assert "needs Matplotlib" in output
    assert "larq-insta[plot]" in output
