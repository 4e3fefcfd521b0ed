"""The study on photographs: its pairs, and its report."""

import conftest
import pytest

from larq_insta.training.configuration import Configuration


@pytest.fixture(scope="module")
def study():
    return conftest.module("studies/photographs/study.py")


def rows(study, tests):
    """Finished cells with these test accuracies, one a seed; validation is a point higher."""
    given = {study.TEACHER: (0.9,), **tests}
    return {
        cell.name: {
            "validation_accuracy": given[cell.variant][cell.seed] + 0.01,
            "test_accuracy": given[cell.variant][cell.seed],
            **{f"{kind}_file_accuracy": 0.5 for kind in study.FILES},
            **{f"{kind}_file_bytes": 2_000_000 for kind in study.FILES},
            "curve": [0.3, 0.4],
            "commit": "abc",
            "date": "2026-01-01",
            "seconds": 3600.0,
            "parameters": 10,
            "versions": {"tensorflow": "2.19.1"},
        }
        for cell in [study.Cell(study.TEACHER), *study.cells()]
        if cell.variant in given and cell.seed < len(given[cell.variant])
    }


TESTS = {
    "static": (0.6, 0.61, 0.62),
    "INSTA-BNN": (0.7, 0.71, 0.721),
    "INSTA-BNN+": (0.6, 0.8, 0.7),
    "MobileNetV1, static": (0.5, 0.5),
    "MobileNetV1, INSTA-BNN": (0.4, 0.401),
    "INSTA-BNN, batch": (0.7,),
}


def test_cells_of_a_seed_differ_in_the_model_alone(study, tmp_path):
    for seed in range(study.SEEDS):
        alike = []
        for variant in study.VARIANTS:
            settings = study.Cell(variant, seed).settings(tmp_path, "pictures")
            Configuration(**settings).check()
            del settings["model"], settings["model_arguments"]
            alike.append(settings)
        assert all(settings == alike[0] for settings in alike)
        assert alike[0]["teacher"] == str(tmp_path / "teacher" / "best.keras")


def test_a_verdict_needs_an_interval_without_zero(study):
    lines = list(study.report(rows(study, TESTS)))
    start = lines.index("|---|---|--:|---|---|---|") + 1
    compared = [line.split(" | ") for line in lines[start : lines.index("", start)]]
    verdicts = {(variant, against): verdict for variant, against, _, _, verdict, _ in compared}
    assert verdicts == {
        ("| INSTA-BNN", "static"): "better",
        ("| INSTA-BNN+", "static"): "no difference shown",
        ("| INSTA-BNN+", "INSTA-BNN"): "no difference shown",
        ("| MobileNetV1, INSTA-BNN", "MobileNetV1, static"): "worse",
    }
    assert "+10.03 (+9.89 to +10.18)" in "\n".join(lines)


def test_pairs_are_of_seeds_that_both_have(study):
    known = rows(study, TESTS)
    del known["INSTA-BNN+, seed 0"]
    scores = study.Scores(known)
    assert scores.seeds("INSTA-BNN+", "INSTA-BNN") == [1, 2]
    assert scores.effect("INSTA-BNN+", "INSTA-BNN", "test").mean == pytest.approx(3.45)
    lines = list(study.report(known))
    assert "| INSTA-BNN+ | 10 | 1.0 |  | 81.00, 80.00 | 71.00, 70.00 |" in lines
    assert "| INSTA-BNN, batch | 10 | 1.0 | 71.00, 70.00 |  |  |" in lines


def test_the_curves_are_drawn(study, tmp_path):
    study.plot(study.Scores(rows(study, TESTS)), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
