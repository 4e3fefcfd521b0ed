"""The study of QuickNet made instance-aware: its pairs, and its report."""

import json
from pathlib import Path

import conftest
import pytest
from click.testing import CliRunner

FOLDER = Path(__file__).parents[2] / "studies/quicknet"


@pytest.fixture(scope="module")
def study():
    return conftest.module("studies/quicknet/study.py")


def test_what_is_compared_differs_in_thresholds_alone(study, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "initial", lambda seed, folder: folder / f"initial{seed}.keras")
    for variant, against in study.COMPARISONS:
        ours, theirs = (study.settings(name, 1, tmp_path) for name in (variant, against))
        assert ours.pop("model_arguments") == {"instance_aware": True, "insta_blocks": "all"}
        assert theirs.pop("model_arguments") == {}
        assert ours == theirs


def test_the_report_is_that_of_the_results(study, tmp_path):
    CliRunner().invoke(study.main, ["report", "--output", str(tmp_path)], catch_exceptions=False)
    assert (tmp_path / "report.md").read_text() == (FOLDER / "report.md").read_text()
    rows = [json.loads(line) for line in (FOLDER / "results.jsonl").read_text().splitlines()]
    assert len(rows) == study.SEEDS * len(study.VARIANTS)


def test_a_verdict_needs_an_interval_without_zero(study):
    better = {"instance-aware": (0.9, 0.91, 0.905), "static": (0.8, 0.81, 0.8)}
    rows = {
        f"{variant}, seed {seed}": {
            "validation_accuracy": better.get(variant, (0.8, 0.9, 0.85))[seed],
            "test_accuracy": 0.5,
            "commit": "abc",
            "date": "2026-01-01",
            "seconds": 1.0,
            "parameters": 10,
        }
        for variant in study.VARIANTS
        for seed in range(3)
    }
    lines = list(study.report(rows))
    verdicts = [line.split(" | ")[3] for line in lines if line.startswith("| instance-aware")][:2]
    assert verdicts == ["better", "no difference shown"]
