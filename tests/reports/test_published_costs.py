"""What models of full size cost, against published figures and counts by hand."""

import functools
import re

import larq as lq
import numpy as np
import pytest
from conftest import instance_aware

from larq_insta import models, profile
from larq_insta.reports import cost_plot
from larq_insta.reports.profiling import MIB

SMALLER_FIRST = sorted(models.MODELS, key=lambda name: "18" not in name)
BASELINES = {"InstaResNet18": "ReActNet18", "InstaMobileNetV1": "ReActNetA"}


@functools.cache
def full(name, **arguments):
    """The model, built but once."""
    return models.get(name)(**arguments)


# Counted by hand: convolutions are (kernel area, input width, output width, output area).
def resnet_convolutions():
    yield from [(9, 64, 64, 56**2)] * 4
    for width, side in ((128, 28), (256, 14), (512, 7)):
        yield 9, width // 2, width, side**2
        yield from [(9, width, width, side**2)] * 3


def mobilenet_convolutions():
    sides = [112, 56, 56, 28, 28, *[14] * 6, 7, 7]
    widths = [32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
    for before, after, side in zip(widths, widths[1:], sides, strict=False):
        yield 9, before, before, side**2
        yield 1, before, after, side**2


CONVOLUTIONS = {"InstaResNet18": resnet_convolutions, "InstaMobileNetV1": mobilenet_convolutions}
COUNTED = {
    "InstaResNet18": (10_985_472, 1.676e9, 1.378e8),
    "InstaMobileNetV1": (28_253_184, 4.817e9, 0.1186e8),
}


@pytest.mark.quick(1)
@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("name", BASELINES)
def test_binary_weights_and_macs_are_the_hand_counted_ones(name, plus):
    profile = lq.models.ModelProfile(full(name, **({"plus": True} if plus else {})))
    convolutions = list(CONVOLUTIONS[name]())
    weights = sum(area * i * o for area, i, o, _ in convolutions)
    bops = sum(area * i * o * pixels for area, i, o, pixels in convolutions)
    assert profile.weight_count(1) == weights
    assert profile.op_count("mac", 1) == bops
    published_weights, published_bops, published_flops = COUNTED[name]
    assert weights == published_weights
    assert bops == pytest.approx(published_bops, rel=5e-4)
    assert profile.op_count("mac", 32) == pytest.approx(published_flops, rel=5e-4)


@pytest.mark.slow
def test_summary_memory_is_right_to_the_byte():
    profile = lq.models.ModelProfile(
        full("InstaResNet18", insta_blocks="all", reuse_statistics=False)
    )
    widths = [64] * 4 + [128] * 4 + [256] * 4 + [512] * 4
    inputs = [64, *widths[:-1]]
    thresholds = sum((2 + 2) * width for width in inputs)  # and moments of the statistic
    prelus = sum((4 + 2) * width for width in widths)
    batch_norms = 2 * (64 + sum(widths) + 128 + 256 + 512)  # Larq fuses four vectors to two
    convolutions = 7 * 7 * 3 * 64 + 64 * 128 + 128 * 256 + 256 * 512
    floats = thresholds + prelus + batch_norms + convolutions + 512 * 1000 + 1000
    assert profile.weight_count(32) == floats
    assert profile.memory == 10_985_472 + 32 * floats


def thresholds(model):
    return [layer for layer in model.layers if layer.name.endswith("_threshold")]


@pytest.mark.quick(1)
@pytest.mark.parametrize(("name", "size"), [("InstaResNet18", 56), ("InstaMobileNetV1", 112)])
def test_all_but_the_largest_maps(name, size):
    """By default, and counted by sizes of tensors, not by what the model says of itself."""
    model = full(name)
    smaller = {
        layer.name.removesuffix("_threshold")
        for layer in thresholds(model)
        if layer.input_shape[1] < size
    }
    assert instance_aware(model) == [smaller, smaller]
    assert len(thresholds(model)) - len(smaller) == {56: 5, 112: 3}[size]


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", SMALLER_FIRST)
def test_docstring_tables_are_true(name):
    row = r"\| (?:(base|plus) +\| )?[^|\n]*\| ([\d ]+) \| ([\d.]+) MiB"
    rows = re.findall(row, models.get(name).__doc__)
    assert len(rows) == (2 if name in BASELINES else 1)
    for form, parameters, memory in rows:
        model = full(name, **({"plus": True} if form == "plus" else {}))
        assert model.count_params() == int(parameters.replace(" ", ""))
        assert f"{lq.models.ModelProfile(model).memory / 8 / 2**20:.2f}" == memory


# Of ../shared/paper.md, section 4, as printed.
PUBLISHED = {
    "ReActNet18": (10_985_472, "1.676e9", "1.378e8", "1.640e8", None),
    "ReActNetA": (28_253_184, "4.817e9", "0.1186e8", "0.871e8", "7.4"),
}


def printed(value, like):
    """`value` with the digits of a printed figure such as 0.871e8."""
    digits, exponent = like.split("e")
    decimals = len(digits.partition(".")[2])
    return f"{value / 10 ** int(exponent):.{decimals}f}e{exponent}"


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_costs_of_static_networks(name):
    weights, bops, flops, ops, size = PUBLISHED[name]
    costs = profile(full(name))
    total = costs.total
    assert total.binary_weights == weights
    assert printed(total.bops, bops) == bops
    assert printed(total.flops, flops) == flops
    assert printed(total.ops, ops) == ops
    assert size is None or f"{costs.size / MIB:.1f}" == size
    assert total.insta_operations == 0


def holds(costs):
    """Whether these are the published costs of InstaMobileNetV1's plus form."""
    total = costs.total
    return (
        f"{costs.size / MIB:.1f}" == "8.9"
        and printed(total.bops, "4.82e9") == "4.82e9"
        and abs(total.flops - 0.20e8) <= 0.01e8
        and abs(total.ops - 0.96e8) <= 0.01e8
    )


@pytest.mark.slow
def test_published_cost_of_the_plus_form():
    assert holds(profile(full("InstaMobileNetV1", plus=True)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        {"insta_blocks": "all"},
        {"reuse_statistics": False},
        {"insta_blocks": "all", "reuse_statistics": False},
        {"threshold": {"reduction_ratio": 16}},
        {"threshold": {"reduction_ratio": 64}},
    ],
    ids=str,
)
def test_other_settings_of_the_plus_form_do_not_have_that_cost(arguments):
    assert not holds(profile(models.InstaMobileNetV1(plus=True, **arguments)))


def test_insta_operations_are_the_hand_counted_ones():
    inputs = [(56, 64)] * 4 + [(56, 64)] + [(28, 128)] * 4 + [(14, 256)] * 4 + [(7, 512)] * 3
    outputs = [(56, 64)] * 4 + [(28, 128)] * 4 + [(14, 256)] * 4 + [(7, 512)] * 4

    def statistics(maps):
        return sum(2 * side**2 * channels + channels for side, channels in maps)

    def channels(maps):
        return sum(channels for _, channels in maps)

    everywhere = profile(full("InstaResNet18", insta_blocks="all", reuse_statistics=False)).total
    expected = statistics(inputs) + statistics(outputs) + channels(inputs) + channels(outputs)
    assert everywhere.insta_operations == expected

    plus = profile(full("InstaResNet18", plus=True)).total
    inputs, outputs = inputs[5:], outputs[5:]  # of the 56 x 56 maps five are read
    widening = [maps for before, maps in zip(inputs, outputs, strict=True) if before[1] != maps[1]]
    branches = sum(2 * width * (width // 32) for _, width in inputs)
    expected = statistics(inputs) + statistics(widening)
    expected += channels(inputs) + channels(outputs) + branches
    assert plus.insta_operations == expected


def test_the_plot_shows_every_cost():
    costs = profile(full("InstaResNet18", plus=True))
    (axes,) = cost_plot.draw(costs).axes
    lengths = [sum(bar.get_width() for bar in part) for part in axes.containers]
    total = costs.total
    expected = [total.bops / 64, total.macs, total.insta_operations]
    np.testing.assert_allclose(lengths, np.divide(expected, 1e6))
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == [layer.name for layer in costs.layers if layer.ops]
