"""The study of INSTA-BNN+: its pairs, and its report."""

from pathlib import Path

import conftest
import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "studies/plus"
TINY = {"size": 8, "filters": (4,), "ratio": 2}


@pytest.fixture(scope="module")
def study():
    return conftest.module("studies/plus/study.py")


def test_variants_of_a_seed_begin_with_the_same_weights(study):
    """Which models of one seed do not: a branch draws weights of its own."""
    setting = study.SETTINGS["photographs"]._replace(**TINY)
    begun = {}
    for variant in study.VARIANTS:
        network = study.Network(setting, variant, channels=3)
        network.begin(seed=1)
        begun[variant] = {x.name: x.numpy() for x in network.model.variables}
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    before = network.model(images).numpy()
    network.update(images, np.array([0, 1, 2, 3]), np.float32(0.1))
    assert np.abs(network.model(images) - before).max() > 1e-3
    network.begin(seed=1)
    np.testing.assert_array_equal(network.model(images), before)
    network.begin(seed=2)
    assert np.abs(network.model(images) - before).max() > 1e-3
    for weights in begun.values():
        for name in weights.keys() & begun["static"].keys():
            np.testing.assert_array_equal(weights[name], begun["static"][name])
    more = begun[study.PLUS].keys() - begun[study.BASE].keys()
    assert more
    assert all("branch" in name for name in more)


def test_batches_are_crops_of_each_picture(study):
    setting = study.SETTINGS["photographs"]._replace(size=2, epochs=3)
    images = np.arange(150 * 16, dtype=np.float32).reshape(150, 4, 4, 1)
    drawn = list(study.batches(images, np.arange(150), setting, seed=3))
    assert len(drawn) == 6
    assert [rate for *_, rate in drawn] == pytest.approx(2.5e-3 * np.linspace(1, 1 / 6, 6))
    for crops, labels, _ in drawn:
        assert crops.shape == (64, 2, 2, 1)
        for crop, label in zip(crops, labels, strict=True):
            assert np.isin(crop, images[label]).all()
            assert abs(crop[0, 1] - crop[0, 0]) == 1
    first = np.concatenate([labels for _, labels, _ in drawn[:2]])
    assert len(set(first)) == 128


def test_a_report_of_known_results(study):
    rows = {
        cell.name: {
            "validation_accuracy": 0.5 + 0.001 * cell.seed + 0.01 * (cell.variant == study.PLUS),
            "training_loss": 0.7 - 0.001 * cell.seed * (cell.variant == study.PLUS),
            "commit": "abc",
            "date": "2026-01-01",
            "seconds": 3600.0,
            "parameters": 10,
        }
        for cell in study.cells()
        if cell.setting != "clothing" and cell.seed < 3
    }
    del rows["photographs, static, seed 2"]
    lines = list(study.report(rows))
    assert "## Photographs" in lines
    assert "## Clothing" not in lines
    better = "| INSTA-BNN+ | INSTA-BNN | 3 | +1.00 (+1.00 to +1.00) | better |"
    assert lines.count(f"{better} -0.001 (-0.003 to +0.001) |") == 2
    assert any(line.startswith("| INSTA-BNN | static | 2 | +0.00") for line in lines)
    assert "| INSTA-BNN+ | 10 | 51.00, 0.700; 51.10, 0.699; 51.20, 0.698 |" in lines


def test_the_committed_report_is_that_of_the_committed_results(study):
    rows = study.finished(study.RESULTS)
    assert (FOLDER / "report.md").read_text() == "\n".join(study.report(rows)) + "\n"
