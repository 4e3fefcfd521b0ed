"""The check tells a file's numbers by their values, and finds what is wrong in a file."""

import larq as lq
import numpy as np
import pytest
from networks import L, assert_equal, blocks, checked, classifier, pictures, q, side_by_side

from larq_insta import InstaSign, InstaThreshold, RPReLU
from larq_insta.conversion import folding, lowering, signs, verification
from larq_insta.conversion.blocks import compare_blocks
from larq_insta.conversion.engine import Interpreter
from larq_insta.conversion.report import TOLERANCE
from larq_insta_runtime.graph import Graph
from larq_insta_runtime.parts import severed


def two_drop_ins(x):
    for _ in range(2):
        x = L.BatchNormalization()(q(input_quantizer="insta_sign")(x))
    return x


def by_batch(statistic):
    """What folds differ by is a scale, of which a sign sees nothing."""
    threshold = InstaThreshold(statistic, normalization="batch")
    return lambda x: L.BatchNormalization()(q()(threshold(L.Conv2D(8, 3)(x))))


def drop_in_by_batch(x):
    return q(input_quantizer=InstaSign(InstaThreshold(normalization="batch")))(L.Conv2D(8, 3)(x))


def one_sign_for_three(x):
    s = lq.quantizers.SteSign()(L.Conv2D(8, 3, padding="same")(x))
    return L.Add()([L.BatchNormalization()(q(input_quantizer=None)(s)), s, L.Conv2D(8, 1)(s)])


NETWORKS = {
    "two drop-ins": two_drop_ins,
    "normalized by batch": by_batch("cube_mean"),
    "mean, by batch": by_batch("mean"),
    "skewness, by batch": by_batch("skewness"),
    "a drop-in by batch": drop_in_by_batch,
    "RPReLU and ReLU": lambda x: q()(L.ReLU()(RPReLU()(L.Conv2D(8, 3)(x)))),
    "multiplied": lambda x: q()(L.Conv2D(8, 3)(x) * 3.0),
    "shifted and cut off": lambda x: q()(L.ReLU(max_value=2.0)(L.Conv2D(8, 3)(x) + 1.0)),
    "negative zeros": lambda x: q()(L.ReLU()(L.Conv2D(8, 3)(x)) * -1.0),
    "pooled": lambda x: q()(L.MaxPooling2D()(L.BatchNormalization()(L.Conv2D(8, 3)(x)))),
    "of the picture": lambda x: L.Add()([q()(x), x]),
    "signs alone between": lambda x: q()(L.BatchNormalization()(q(40)(x))),
    "one sign for three": one_sign_for_three,
    "blocks": blocks,
}


RUNTIMES = [("lce", True), ("tflite", True), ("tflite", False), ("lce", False)]


@pytest.mark.quick(1)
@pytest.mark.parametrize(("runtime", "fold"), RUNTIMES)
def test_what_is_equal_is_found_equal_by_every_runtime_folded_or_not(runtime, fold):
    assert_equal(checked(classifier(side_by_side(*NETWORKS.values())), runtime, fold))


def test_a_sign_that_only_a_convolution_makes_is_read_as_bits():
    graph = Graph(lowering.lower(classifier(NETWORKS["signs alone between"])))
    _, between = signs.of_file(graph)
    assert between.read == between.made
    assert between.shape == (6, 6, 40)


@pytest.fixture(scope="module")
def lowered():
    """A model, and its file that is known."""
    model = classifier(lambda x: L.BatchNormalization()(blocks(x)))
    network = folding.fold(model)
    return model, network, Graph(lowering.lower(network))


def change(index, by):
    def changed(values):
        values[index] += by
        return values

    return changed


def flip_one_weight(kernel):
    kernel[0, 0, 0, 0] *= -1
    return kernel


def swap_two_channels(kernel):
    return kernel[..., [1, 0, *range(2, 8)]]


FAULTS = {
    "flipped weight": ("first", 0, flip_one_weight, "second"),
    "swapped channels": ("first", 0, swap_two_channels, "second"),
    "swapped inputs": ("second", 0, lambda k: swap_two_channels(k.swapaxes(2, 3)), "softmax"),
    "changed scale": ("first_norm", 0, change(5, 1e-2), "second"),
    "changed bias": ("first_norm", 1, change(5, 1e-2), "second"),
    "moved threshold": ("first_threshold", 0, change(3, 1e-3), "first"),
    "another moved threshold": ("second_threshold", 0, change(3, -1e-2), "second"),
    "changed slope": ("second_prelu", 1, change(2, 1e-2), "softmax"),
    "changed bias at the end": ("last", 1, change(2, 1e-3), "softmax"),
}


@pytest.mark.parametrize(("layer", "weight", "fault", "found"), FAULTS.values(), ids=FAULTS)
def test_a_fault_in_a_file_is_found_where_it_is(layer, weight, fault, found, lowered):
    model, network, graph = lowered
    part = model.get_layer(layer)
    whole = part.get_weights()
    part.set_weights([fault(w.copy()) if i == weight else w for i, w in enumerate(whole)])
    try:
        compared = compare_blocks(model, network, graph, pictures(model))
    finally:
        part.set_weights(whole)
    assert next(block.name for block in compared.blocks if block.differs).startswith(found)
    assert compared.device_deviation > TOLERANCE


def test_the_file_itself_is_found_equal(lowered):
    model, network, graph = lowered
    compared = compare_blocks(model, network, graph, pictures(model))
    assert not any(block.differs for block in compared.blocks)
    assert 0 < compared.device_deviation < TOLERANCE
    assert (compared.signs, compared.flips) == (2 * 8 * 6 * 6 * 8, 0)


def test_signs_that_rounding_flips_are_counted_and_no_difference(lowered):
    """In every channel one number lies by a hair on the other side of zero."""
    model, network, _ = lowered
    images = np.repeat(pictures(model, 1), 8, axis=0)
    beta = model.get_layer("first_threshold").beta
    before = beta.numpy()
    values = images[0].reshape(-1, 8) - before
    beta.assign_add(values[np.abs(values).argmin(0), np.arange(8)] - 1e-6)
    try:
        content = lowering.lower(folding.fold(model))
        beta.assign_add(np.full(8, 2e-6, np.float32))
        labels = np.zeros(8, np.int64)
        report = verification.verify(model, network, content, content, images, labels)
    finally:
        beta.assign(before)
    assert report.flips >= 8 * 8
    assert not any(block.differs for block in report.blocks)


def test_an_unknown_sign_is_a_difference(lowered, monkeypatch):
    model, network, graph = lowered
    answers = model(pictures(model)).numpy()
    monkeypatch.setattr(signs, "of_model", lambda model, images: ([], [answers]))
    compared = compare_blocks(model, network, graph, pictures(model))
    assert [block.deviation for block in compared.blocks[:2]] == [np.inf, np.inf]


@pytest.mark.parametrize("channels", [8, 40, 64])
def test_signs_are_packed_as_the_engine_packs_them(channels):
    model = classifier(q(), shape=(3, 3, channels))
    graph, images = Graph(lowering.lower(model)), pictures(model)
    (sign,) = signs.of_file(graph)
    reader = Interpreter(severed(graph, [], [sign.made]))
    np.testing.assert_array_equal(reader.predict(images), sign.encoded(images))


def test_a_file_goes_on_with_the_signs_that_it_is_given(lowered):
    model, _, graph = lowered
    images, file_signs = pictures(model, 1), signs.of_file(graph)
    tensors = [sign.made for sign in file_signs]
    *made, answers = Interpreter(severed(graph, [], [*tensors, *graph.outputs])).run([images])
    reader = Interpreter(severed(graph, tensors, [*tensors, *graph.outputs]))
    for array, expected in zip(reader.run([images, *made]), [*made, answers], strict=True):
        np.testing.assert_array_equal(array, expected)
    first, _, others = reader.run([images, ~made[0], made[1]])
    np.testing.assert_array_equal(first, made[0])  # what it made itself
    assert np.abs(others - answers).max() > 1e-3
