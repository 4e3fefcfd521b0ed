"""What commands say as whole programs: results, and nothing of the libraries below them."""

import os
import subprocess
import sys

import pytest
from conftest import TINY, run

CONVERTED = "Same answer as Keras on"


def program(*arguments):
    """Standard output and error of a command as users run it."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_CPP_")}
    done = subprocess.run(
        [sys.executable, "-m", "larq_insta", *map(str, arguments)],
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def is_plain(text):
    return not set("\r\b\x1b") & set(text)


@pytest.mark.slow
def test_a_training_says_nothing_but_its_epochs(tmp_path):
    options = ["--epochs", 2, "--batch-size", 400, "--output", tmp_path / "run"]
    said, errors = program("train", *TINY, *options)
    assert not errors
    assert is_plain(said)
    lines = said.splitlines()
    assert [line[:9] for line in lines[1:]] == ["Epoch 1/2", "Epoch 2/2", "Test accu"]
    assert lines[1].endswith(" left")


@pytest.mark.slow
def test_a_conversion_says_nothing_but_its_result(trained, tmp_path):
    said, errors = program("convert", trained / "best.keras", tmp_path / "m.tflite")
    assert not errors
    assert is_plain(said)
    assert CONVERTED in said


def test_a_conversion_shows_its_stages(trained, tmp_path, terminal):
    said = run("convert", trained / "best.keras", tmp_path / "m.tflite")
    assert CONVERTED in said
    assert is_plain(said)
    written, at = terminal(), -1
    for stage in ("Folding", "Lowering", "Checking answers", "Checking blocks"):
        assert (at := written.find(f"\r{stage} ...", at + 1)) >= 0, stage
    assert written.endswith(" \r")


def test_an_evaluation_shows_the_time_left(converted, terminal):
    assert "Test accuracy" in run("evaluate", converted)
    assert "s left" in terminal()
