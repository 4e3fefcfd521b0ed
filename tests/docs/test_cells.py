"""What all studies do with their cells."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "studies"))
import cells


def train(name):
    """A cell's result without training; of a module, as it runs in a process of its own."""
    if name == "broken":
        raise ValueError(name)
    return {"cell": name, "validation_accuracy": 0.5, "seconds": 60.0}


def test_a_cell_that_fails_keeps_the_others_results(tmp_path, capsys):
    results = tmp_path / "results.jsonl"
    with pytest.raises(ValueError, match="broken"):
        cells.run(train, [("first",), ("broken",), ("last",)], 1, results)
    known = cells.finished(results)
    assert list(known) == ["first", "last"]
    assert all(row["commit"].rstrip("+") == cells.commit().rstrip("+") for row in known.values())
    assert "first: validation 50.00%, 1 min" in capsys.readouterr().out


def test_a_cell_that_is_known_is_replaced(tmp_path):
    results = tmp_path / "results.jsonl"
    for accuracy in (0.1, 0.2):
        cells.keep(results, {"cell": "one", "accuracy": accuracy})
    assert cells.finished(results) == {"one": {"cell": "one", "accuracy": 0.2}}


def test_a_report_says_when_and_at_which_commits_its_cells_were_trained():
    cell = {"seconds": 1800.0, "commit": "b", "date": "2026-01-01"}
    assert "trained on 2026-01-01 in 0.5 hours of one thread, at commit b." in cells.provenance(
        "plus", {"one": cell}
    )
    other = {"seconds": 1800.0, "commit": "a", "date": "2026-01-03"}
    assert (
        "trained from 2026-01-01 to 2026-01-03 in 1.0 hours of one thread, at commit a, b, TF."
        in (cells.provenance("plus", {"one": cell, "two": other}, "TF"))
    )
