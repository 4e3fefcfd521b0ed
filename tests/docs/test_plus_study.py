"""The study of INSTA-BNN+'s branch: its pairs, and its report."""

from pathlib import Path

import conftest
import pytest

from larq_insta.training.configuration import Configuration

FOLDER = Path(__file__).parents[2] / "studies/plus"


@pytest.fixture(scope="module")
def study():
    return conftest.module("studies/plus/study.py")


def test_cells_of_a_seed_differ_in_the_branch_alone(study):
    for setting in study.SETTINGS:
        alike, thresholds = [], []
        for variant in study.VARIANTS:
            settings = study.Cell(setting, variant, 1).settings()
            Configuration(**settings).check()
            model = dict(settings.pop("model_arguments"))
            thresholds.append(model.pop("threshold", None))
            alike.append((settings, model))
        assert all(cell == alike[0] for cell in alike)
        ratio = {"reduction_ratio": study.SETTINGS[setting].ratio}
        scalings = [{**ratio, "branch_scaling": scaling} for scaling in (None, "fan_in")]
        assert thresholds == [None, *scalings]


def test_a_report_of_known_results(study):
    rows = {
        cell.name: {
            "validation_accuracy": 0.5 + 0.001 * cell.seed + 0.01 * (cell.variant == study.PLUS),
            "test_accuracy": 0.5,
            "training_loss": 0.7 - 0.001 * cell.seed * (cell.variant == study.PLUS),
            "commit": "abc",
            "date": "2026-01-01",
            "seconds": 3600.0,
            "parameters": 10,
        }
        for cell in study.cells()
    }
    lines = list(study.report(rows))
    better = "| INSTA-BNN+ | INSTA-BNN | +1.00 (+1.00 to +1.00) | better | +0.00 (+0.00 to +0.00) |"
    assert [line for line in lines if line.startswith(better)] == [
        f"{better} -0.001 (-0.003 to +0.001) |",
        f"{better} -0.002 (-0.004 to +0.001) |",
    ]
    assert (
        "| INSTA-BNN+ | 10 | 51.00, 50.00, 0.700 | 51.10, 50.00, 0.699 | 51.20, 50.00, 0.698 |"
        in lines
    )
