"""The study's cells, runner and report; all but one cell are trained by hand."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

from larq_insta import models
from larq_insta.configuration import Configuration

STUDY = Path(__file__).parents[1] / "studies" / "thresholds"
sys.path.insert(0, str(STUDY))
report = pytest.importorskip("report")
run, variants = pytest.importorskip("run"), pytest.importorskip("variants")


def build(cell):
    configuration = Configuration(**cell.settings(epochs=1))
    return models.build(
        configuration.model,
        {"input_shape": (28, 28, 1), "stem": "small", **configuration.model_arguments},
    )


@pytest.mark.parametrize("cell", list(variants.cells(1)), ids=lambda cell: cell.name)
def test_cells_build_and_start_as_the_static_network(cell):
    model = build(cell)
    static = build(dataclasses.replace(cell, variant="static"))
    shared = {weight.name: weight for weight in model.weights}
    for weight in static.weights:
        if weight.name in shared:
            shared[weight.name].assign(weight)
    images = np.random.default_rng(0).normal(size=(4, 28, 28, 1))
    if cell.variant != "batch":  # which normalises the input of the sign
        np.testing.assert_allclose(model(images), static(images), atol=1e-6)


def test_cells_are_distinct_and_comparable():
    names = [cell.name for cell in variants.cells(2)]
    assert len(set(names)) == len(names) == 2 * (20 + 4)
    known = {variant.name for variant in variants.VARIANTS}
    assert {name for row in variants.COMPARISONS for name in row[1:]} == known
