"""The study's cells, runner and report; all but one cell are trained by hand."""

import dataclasses
import functools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import FASHION
from scipy import stats

from larq_insta import models
from larq_insta.training.configuration import Configuration

STUDY = Path(__file__).parents[2] / "studies" / "thresholds"
sys.path.insert(0, str(STUDY))
report = pytest.importorskip("report")
run, variants = pytest.importorskip("run"), pytest.importorskip("variants")


def build(cell):
    configuration = Configuration(**cell.settings(epochs=1))
    return models.build(
        configuration.model,
        {"input_shape": (28, 28, 1), "stem": "small", **configuration.model_arguments},
    )


build_once = functools.cache(build)


@pytest.mark.slow
@pytest.mark.usefixtures("short_stages")
@pytest.mark.parametrize("cell", list(variants.cells(1)), ids=lambda cell: cell.name)
def test_cells_build_and_start_as_the_static_network(cell):
    model = build(cell)
    static = build_once(dataclasses.replace(cell, variant="static"))
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


def row(cell, accuracy):
    scores = {"validation_accuracy": accuracy, "test_accuracy": accuracy - 0.01}
    where = {"topology": cell.topology, "variant": cell.variant, "seed": cell.seed}
    rest = {"seconds": 1.0, "date": "2026-01-02", "versions": {"larq": "0"}, "commit": "abc"}
    return {"cell": cell.name, **where, **scores, **rest}


@pytest.fixture
def scores(rng):
    return {cell.name: row(cell, rng.uniform(0.8, 0.9)) for cell in variants.cells(3)}


def test_effects_are_paired_and_their_intervals_students(scores):
    three = [
        scores[f"ResNet18/{name}/seed{i}"] for name in ("INSTA-Th", "static") for i in range(3)
    ]
    accuracies = 100 * np.array([x["validation_accuracy"] for x in three]).reshape(2, 3)
    expected = stats.ttest_rel(*accuracies).confidence_interval()
    effect = report.Scores(list(scores.values())).effect(
        "ResNet18", "INSTA-Th", "static", "validation"
    )
    assert effect.mean == pytest.approx(np.mean(accuracies[0] - accuracies[1]))
    assert (effect.low, effect.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 1, "better"), (-1, -0.1, "worse"), (-0.1, 0.1, "no difference shown")],
)
def test_verdicts_leave_out_zero(low, high, verdict):
    assert report.Effect((low + high) / 2, low, high).verdict == verdict


def test_the_report_holds_whole_rounds_alone(scores, tmp_path):
    del scores["MobileNetV1/static/seed2"]
    results = tmp_path / "results.jsonl"
    results.write_text("".join(json.dumps(x) + "\n" for x in scores.values()))
    answer = CliRunner().invoke(report.main, ["--results", results, "--output", tmp_path])
    assert answer.exit_code == 0, answer.output
    text = (tmp_path / "report.md").read_text()
    resnet, mobilenet = text.split("## MobileNetV1")
    assert resnet.count("| seed 2 |") == 1
    assert "seed 2" not in mobilenet
    one = scores["ResNet18/static/seed1"]
    assert f"{100 * one['validation_accuracy']:.2f}, {100 * one['test_accuracy']:.2f}" in resnet
    assert (tmp_path / "effects.png").read_bytes().startswith(b"\x89PNG")


def test_the_committed_report_is_that_of_the_committed_results(tmp_path):
    answer = CliRunner().invoke(report.main, ["--output", tmp_path])
    assert answer.exit_code == 0, answer.output
    assert (tmp_path / "report.md").read_text() == (STUDY / "report.md").read_text()


@pytest.mark.slow
@pytest.mark.skipif(not FASHION.is_dir(), reason="needs the Debian package dataset-fashion-mnist")
def test_the_runner_trains_a_cell_once(tmp_path, few_clothes):
    command = [sys.executable, STUDY / "run.py", tmp_path / "cells", "--manual-dir", FASHION]
    command += ["--data-dir", few_clothes, "--results", tmp_path / "results.jsonl"]
    command += ["--seeds", "1", "--epochs", "2", "--jobs", "1", "--only", "ResNet18/static"]
    for finished in (0, 1):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        assert f"{finished} cells are finished, {1 - finished} to do." in done.stdout
    [line] = (tmp_path / "results.jsonl").read_text().splitlines()
    result = json.loads(line)
    assert result["cell"] == "ResNet18/static/seed0"
    assert 0.6 < result["test_accuracy"] < 0.95
    assert result["settings"]["epochs"] == [2]
