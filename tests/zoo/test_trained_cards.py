"""The documents of the trained models in the package."""

import re
import runpy
from pathlib import Path

import pytest
from conftest import FASHION, run

from larq_insta.zoo import pretrained
from larq_insta_runtime import packaged
from larq_insta_runtime.card import Card

ROOT = Path(__file__).parents[2]
HEADINGS = ["Trained on", "Accuracy", "Pictures it takes", "Limits", "Licence"]
ROUNDING = 0.1  # percent: one picture of a class may fall on the other side on other processors


def stems(folder, suffix):
    return {path.name.removesuffix(suffix) for path in folder.glob(f"*{suffix}")}


def test_every_trained_model_has_a_document():
    names = set(packaged.MODELS)
    assert names == stems(packaged.FOLDER, ".md")
    assert names == stems(packaged.FOLDER, ".tflite") == stems(pretrained.FOLDER, ".keras")


@pytest.mark.parametrize("name", packaged.MODELS)
def test_a_document_tells_what_must_be_known(name):
    """Of the files that are there: whoever trains them anew has to look at it."""
    text = packaged.document(packaged.converted(name)).read_text()
    assert text.startswith(f"# {name}: {packaged.MODELS[name]} for ")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    assert all(part.strip() for part in re.split(r"^#+ .+$", text, flags=re.MULTILINE)[1:])
    for file in (packaged.converted(name), pretrained.checkpoint(name)):
        assert f"{file.name} ({file.stat().st_size:,} bytes)" in " ".join(text.split())
    versions = Card.read(packaged.converted(name)).versions
    for word in (f"larq_insta {versions['larq_insta']}", "commit `", "Apache-2.0"):
        assert word in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("name", packaged.MODELS)
def test_a_document_is_shown(name):
    output = run("card", name)
    assert output.startswith(f"{packaged.MODELS[name]}, ")
    assert output.endswith(packaged.document(packaged.converted(name)).read_text())


@pytest.mark.slow
def test_figures_of_fashion_mnist_are_measured():
    limits = runpy.run_path(str(ROOT / "studies/fashion_mnist/limits.py"))
    found = dict(limits["figures"](FASHION))
    text = packaged.document(packaged.converted("fashion_mnist")).read_text()
    said = {float(number) for number in re.findall(r"([\d.]+) %", text)}
    others = {92.05, 91.02, 90}  # the teacher, the checkpoint, and what is called sure
    wrong = {
        figure
        for figure in said - others
        if min(abs(figure - 100 * share) for share in found.values()) > ROUNDING
    }
    assert not wrong
    assert found["right"] == pytest.approx(0.9101, abs=ROUNDING / 100)
    for name, share in re.findall(r"\| ([\w /-]+) \| ([\d.]+) %", text):
        assert float(share) == pytest.approx(100 * found[f"right of {name}"], abs=ROUNDING)
