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
