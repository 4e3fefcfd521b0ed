"""The check tells what rounding does from what is wrong."""

import numpy as np
import pytest
from networks import L, checked, classifier, pictures, q

from larq_insta.conversion import blocks as comparing
from larq_insta.conversion import folding, lowering, signs, verification
from larq_insta.conversion.blocks import Comparison, compare_blocks
from larq_insta.conversion.report import TOLERANCE, Block
from larq_insta_runtime.graph import Graph


def cancelled(x):
    """What differs in the sixth decimal place of all numbers, a thousand times as large."""
    constant = L.BatchNormalization(epsilon=1e-9, name="constant")
    return q(name="reading")(constant(L.ReLU()(L.Conv2D(8, 3, name="stem")(x * 1e-4) + 1.0)))


def ill_conditioned():
    model = classifier(cancelled)
    constant = model.get_layer("constant")
    constant.set_weights([np.ones(8), np.zeros(8), np.ones(8), np.full(8, 1e-6)])
    model.get_layer("stem").bias.assign(np.zeros(8))
    return model


def test_numbers_that_rounding_moves_are_no_difference(monkeypatch):
    model = ill_conditioned()
    report = checked(model)
    assert report.problems == ()
    assert max(block.deviation for block in report.blocks) <= TOLERANCE
    monkeypatch.setattr(comparing, "_ROUNDINGS", 0)
    assert checked(model).problems != ()


@pytest.mark.parametrize("by", [1e-6, -1e-6])
def test_faults_larger_than_rounding_are_found_there_too(by):
    model = ill_conditioned()
    network = folding.fold(model)
    graph, stem = Graph(lowering.lower(network)), model.get_layer("stem")
    stem.bias.assign_add(np.eye(8)[3] * 20 * by)
    compared = compare_blocks(model, network, graph, pictures(model))
    assert compared.blocks[0].differs
    assert compared.device_deviation > TOLERANCE


def test_noise_is_of_each_channel():
    """What is summed exactly has none, beside what is not."""
    model = classifier(lambda x: q(name="reading")(L.Conv2D(8, 1, name="stem")(x)))
    kernel, bias = model.get_layer("stem").get_weights()
    kernel[..., 3], bias[3] = 0, 0
    model.get_layer("stem").set_weights([kernel, bias])
    readings, answers = signs.of_model(model, pictures(model))
    assert readings[0].noise[3] == 0
    assert (np.delete(readings[0].noise, 3) > 1e-8).all()
    assert len(answers) == signs._TIMES


@pytest.mark.parametrize("count", [1, 3])
def test_filters_are_no_readings_whatever_the_number_of_pictures(count):
    model = classifier(lambda x: q(name="second")(q(name="first")(x)))
    readings, _ = signs.of_model(model, pictures(model, count))
    assert [reading.layer for reading in readings] == ["first", "second"]


@pytest.fixture
def disagreeing(monkeypatch):
    """Calls the check as if a file disagreed with Keras too often."""
    model = classifier(q())
    content, images = lowering.lower(model), pictures(model, 20)
    seen = []
    original = verification.compare_blocks

    def check(first_flips=0.0, least=2.0, deviation=0.0):
        def compare(model, lowered, graph, images):
            seen.append(images)
            original(model, lowered, graph, images)
            return Comparison((Block("end", deviation),), 0.0, 10, 3, first_flips)

        monkeypatch.setattr(verification, "compare_blocks", compare)
        monkeypatch.setitem(verification.MIN_AGREEMENT, "float32", 2.0)
        labels = np.zeros(len(images), np.int64)
        return verification.verify(model, model, content, content, images, labels, least), seen

    return check


def test_agreement_alone_is_no_reason_where_rounding_explains_it(disagreeing):
    report, _ = disagreeing(first_flips=TOLERANCE)
    assert report.problems == ()
    (remark,) = report.remarks
    assert "agrees with Keras on 100.0% of 20, but no block differs" in remark
    assert remark in report.describe()


@pytest.mark.parametrize(
    "found",
    [
        {"first_flips": 2 * TOLERANCE},  # which no block explains
        {"deviation": 2 * TOLERANCE},
        {"least": 1.5},  # of weights in fewer bytes, which blocks do not have
    ],
)
def test_else_it_is_one(found, disagreeing):
    report, _ = disagreeing(**found)
    assert "must agree with Keras" in report.problems[-1]
    assert report.remarks == ()


def test_blocks_of_pictures_that_disagree_are_compared(monkeypatch, disagreeing):
    class Wrong(verification.Interpreter):
        def predict(self, images):
            answers = super().predict(images)
            answers[[3, 15, 17]] = np.roll(answers[[3, 15, 17]], 1, -1)
            return answers

    monkeypatch.setattr(verification, "Interpreter", Wrong)
    report, seen = disagreeing()
    assert report.agreement < 1
    assert len(seen[-1]) == 10
    assert report.remarks
