"""The notebook: what is stored in it, and that it runs from its first cell to its last."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FASHION, module

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOK = FOLDER / "quickstart.ipynb"
MACHINE = re.compile(r"(?<![\w.])/(?:root|home|tmp|work|opt|usr|mnt|var|Users)/")
SILENT = {"install-code", "quiet", "imports", "fetch-code", "model-code"}
"""Cells that have nothing to say."""
VARIABLE = {"train-code", "compare-code", "run-code", "time-code"}
"""Cells whose words depend on what comes out, too."""


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def text(cell):
    """What a cell printed."""
    return "".join("".join(x.get("text", "")) for x in cell["outputs"])


def check(notebook):
    """What holds for outputs, stored or new."""
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert {cell["id"] for cell in cells if not cell["outputs"]} == SILENT
    for cell in cells:
        for output in cell["outputs"]:
            assert output["output_type"] in ("stream", "display_data"), output
            assert output.get("name") != "stderr", output
        written = json.dumps(cell["outputs"])
        assert not MACHINE.search(written), MACHINE.search(written)
    pictures = [x for cell in cells for x in cell["outputs"] if x["output_type"] == "display_data"]
    assert len(pictures) == 2
    assert all("image/png" in picture["data"] for picture in pictures)


def stored():
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))


def test_stored_outputs_are_whole_and_clean():
    check(stored())


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ({"output_type": "error", "ename": "ValueError"}, "error"),
        ({"output_type": "stream", "name": "stderr", "text": ["I0000"]}, "stderr"),
        ({"output_type": "stream", "name": "stdout", "text": ["/home/me/data"]}, "/home/"),
    ],
)
def test_unclean_outputs_are_found(output, why):
    notebook = stored()
    code_cells(notebook)[-1]["outputs"].append(output)
    with pytest.raises(AssertionError, match=why):
        check(notebook)


def test_cells_that_were_run_in_another_order_are_found():
    notebook = stored()
    code_cells(notebook)[2]["execution_count"] = 30
    with pytest.raises(AssertionError):
        check(notebook)


def test_the_file_is_small_and_has_nothing_of_one_machine():
    assert NOTEBOOK.stat().st_size < 300_000
    notebook = stored()
    assert set(notebook["metadata"]) == {
        "colab",
        "kernelspec",
        "language_info",
        "outputs_of_code",
    }
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert not any(MACHINE.search("".join(cell["source"])) for cell in notebook["cells"])


def test_the_first_code_cell_installs_and_does_nothing_else():
    source = "".join(code_cells(stored())[0]["source"])
    assert source.count("%pip") == 1
    before, _, _ = source.partition("if importlib.util.find_spec")
    assert [line.split()[0] for line in before.splitlines() if line] == ["import", "SOURCE"]


@pytest.fixture(scope="module")
def execute():
    pytest.importorskip("nbclient", reason="needs nbclient, nbformat and ipykernel")
    return module("docs/notebooks/execute.py")


def test_stored_outputs_are_of_the_stored_code(execute):
    notebook = stored()
    assert notebook["metadata"][execute.MADE_OF] == execute.digest(notebook)
    code_cells(notebook)[-1]["source"].append("# another")
    assert notebook["metadata"][execute.MADE_OF] != execute.digest(notebook)


@pytest.fixture(scope="module")
def run_now(execute, tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    command = [sys.executable, execute.__file__, "--files", FASHION, "--data-dir", folder / "data"]
    subprocess.run([*command, "--output", folder / "run.ipynb"], check=True)
    return json.loads((folder / "run.ipynb").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.skipif(not FASHION.is_dir(), reason="needs the Debian package dataset-fashion-mnist")
def test_it_runs_and_gives_what_is_stored_but_for_numbers(run_now):
    check(run_now)
    for cell, before in zip(code_cells(run_now), code_cells(stored()), strict=True):
        assert cell["source"] == before["source"]
        if cell["id"] not in VARIABLE:
            assert shape(cell) == shape(before)


def shape(cell):
    """What a cell printed, without numbers and how they end."""
    return re.sub(r"[-+]?\d[\d,.]*(e[-+]?\d+)?", "0", text(cell))


@pytest.mark.slow
@pytest.mark.skipif(not FASHION.is_dir(), reason="needs the Debian package dataset-fashion-mnist")
def test_its_models_learn_and_its_files_answer_as_they_do(run_now):
    cells = {cell["id"]: text(cell) for cell in code_cells(run_now)}
    assert "equal, bit for bit" in cells["aware-code"]
    learned = [float(x) for x in re.findall(r": ([\d.]+)% of 10,000", cells["compare-code"])]
    assert len(learned) == 2
    assert all(75 < x < 95 for x in learned)
    same = re.findall(r"same class as Keras ([\d.]+)%", cells["run-code"])
    assert len(same) == 2
    assert all(float(x) >= 98 for x in same)
