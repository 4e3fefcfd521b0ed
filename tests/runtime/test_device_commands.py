"""`larq-insta-run`: the same words as on a workstation, and one line for what cannot be."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import run
from lce_files import convolution
from PIL import Image

import larq_insta_runtime
from larq_insta_runtime import packaged
from larq_insta_runtime.cli import cli

FILE = packaged.converted("fashion_mnist")
OTHER = convolution(np.random.default_rng(7), shape=(1, 8, 8, 32), filters=16)
BOOT = Path(__file__).parents[2] / "docs" / "boot.png"


run_here = partial(run, group=cli)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Class folders of the same boot, brighter and darker, so that half of them are wrong."""
    root = tmp_path_factory.mktemp("classes")
    pixels = np.asarray(Image.open(BOOT).convert("L"))
    for name in ("Ankle boot", "Sandal"):
        (root / name).mkdir()
        for i in range(3):
            Image.fromarray(pixels - pixels // (9 - i)).save(root / name / f"{i}.png")
    return root


def test_it_predicts_as_on_a_workstation():
    answer = run_here("predict", "fashion_mnist", BOOT)
    assert answer == run("predict", "fashion_mnist", BOOT)
    assert answer.startswith(f"{BOOT}: Ankle boot 99.7%, Sneaker 0.2%")


def test_it_evaluates_folders(folder):
    assert f"Accuracy 50.00% on 6 pictures of {folder}" in run_here("evaluate", FILE, folder)


def test_many_pictures_come_in_parts(folder, monkeypatch):
    monkeypatch.setattr("larq_insta_runtime.testing._BATCH", 4)
    assert "Accuracy 50.00% on 6 pictures" in run_here("evaluate", FILE, folder)


def test_it_tells_times_of_any_files(tmp_path):
    """One of them without a card, which another tool might have written."""
    other, record = tmp_path / "other.tflite", tmp_path / "times.json"
    other.write_bytes(OTHER)
    output = run_here("benchmark", FILE, other, "--runs", 3, "--json", record)
    found = json.loads(record.read_text())
    assert [entry["file"] for entry in found["files"]] == [str(FILE), str(other)]
    for entry in found["files"]:
        assert 0 < entry["p50_ms"] <= entry["p90_ms"] <= entry["p99_ms"]
        assert entry["first_ms"] > entry["p50_ms"]
        assert entry["bytes"] == Path(entry["file"]).stat().st_size
        assert f"p50 {entry['p50_ms']:.2f}, p90 {entry['p90_ms']:.2f}" in output
    assert (found["runs"], found["threads"]) == (3, 1)
    assert found["kernels"] == larq_insta_runtime.kernels()[0]
    assert found["versions"].keys() == {"larq-insta-runtime", "ai-edge-litert", "python"}
    assert "| LceBconv2d |" in run_here("benchmark", other, "--runs", 1, "--ops")
    assert run_here("benchmark", "fashion_mnist", "--runs", 1).startswith("fashion_mnist: p50")


def test_it_imports_no_tensorflow():
    code = f"""
import sys
from larq_insta_runtime.cli import cli
if __name__ == "__main__":
    cli(["predict", "fashion_mnist", {str(BOOT)!r}], standalone_mode=False)
    print({{"tensorflow", "larq", "larq_insta", "numpy"}} & sys.modules.keys())
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "{'numpy'}"
    assert done.stderr == ""


def test_the_public_door_opens_models():
    model = larq_insta_runtime.Model(str(FILE))
    image = model.card.preprocessing.read(str(BOOT))
    answers = model.predict(image[None])
    assert model.card.class_names[answers[0].argmax()] == "Ankle boot"
    pixels = np.asarray(Image.open(BOOT).convert("L"))[None, ..., None]
    np.testing.assert_array_equal(model.predict(pixels), answers)


BAD = {
    "no file": (["predict", "{tmp}/none.tflite", BOOT], "must exist"),
    "no such kind": (["predict", BOOT, BOOT], "must be called *.tflite"),
    "no card": (["predict", "{tmp}/other.tflite", BOOT], "was not written by larq_insta"),
    "truncated": (["predict", "{tmp}/cut.tflite", BOOT], "is damaged"),
    "no model": (["benchmark", BOOT], "must be a TFLite file"),
    "no picture": (["predict", "fashion_mnist", FILE], "must be a whole JPEG"),
    "no folder": (["evaluate", FILE, "{tmp}/none"], "folder of class folders must exist"),
    "unknown classes": (["evaluate", FILE, "{tmp}/pets"], "has cat, dog besides"),
    "no pictures": (["evaluate", FILE, "{tmp}/empty"], "must hold pictures"),
    "no place": (["benchmark", FILE, "--json", "/proc/x.json"], "/proc/x.json"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_gets_one_line(arguments, message, tmp_path):
    (tmp_path / "other.tflite").write_bytes(OTHER)
    (tmp_path / "cut.tflite").write_bytes(FILE.read_bytes()[:50_000])
    for name in ("pets/cat", "pets/dog", "empty/Bag", "empty/Coat"):
        (tmp_path / name).mkdir(parents=True)
    Image.new("L", (28, 28)).save(tmp_path / "pets" / "cat" / "1.png")
    Image.new("L", (28, 28)).save(tmp_path / "pets" / "dog" / "1.png")
    output = run_here(*(str(a).format(tmp=tmp_path) for a in arguments), code=2)
    lines = [line for line in output.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    assert message in lines[0]
