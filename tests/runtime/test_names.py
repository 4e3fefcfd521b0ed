"""Names of files and classes in any letters, on any terminal and in any locale."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import run
from PIL import Image

from larq_insta import data
from larq_insta_runtime import running
from larq_insta_runtime.commands import never_fail, shown
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.naming import as_text

COMPOSED, DECOMPOSED = "\u00e9t\u00e9", "e\u0301te\u0301"


@pytest.fixture
def class_folders(tmp_path):
    """Makes folders of ten pictures with these names."""

    def make(*names):
        for name in names:
            (tmp_path / name).mkdir(parents=True)
            for i in range(10):
                Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / name / f"{i}.png")
        return tmp_path

    return make


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_every_terminal_shows_every_letter_in_its_way(encoding):
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding)
    never_fail(stream)
    stream.write("caf\u00e9 \u0436")
    stream.flush()
    assert written.getvalue() == "caf\u00e9 \u0436".encode(encoding, "backslashreplace")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (COMPOSED, COMPOSED),
        ("\udcd0\udcba", "\u043a"),  # as Python has UTF-8 in a locale of ASCII
        ("k\udcfcste", "k\ufffdste"),
        ("a\nb\x1b[31m", "a\\nb\\x1b[31m"),
    ],
)
def test_names_are_shown_as_text(name, words):
    assert shown(name) == words


def test_names_that_are_no_text_name_nothing():
    assert as_text("k\udcfcste") is None


def test_a_class_of_another_script_is_predicted(tmp_path, monkeypatch):
    Image.new("L", (28, 28)).save(tmp_path / "x.png")
    monkeypatch.setattr(running, "answer", lambda *_: "\u0436 100.0%\x1b[31m")
    output = run("predict", "fashion_mnist", tmp_path / "x.png")
    assert output == f"{tmp_path / 'x.png'}: \u0436 100.0%\\x1b[31m\n"


def test_letters_composed_and_decomposed_name_one_class(class_folders):
    root = class_folders(f"train/{COMPOSED}", "train/b", f"test/{DECOMPOSED}", "test/b")
    loaded = data.load(str(root))
    assert loaded.class_names == ("b", COMPOSED)
    assert (loaded.test.size, np.bincount(list(labels_of(loaded.test))).tolist()) == (20, [10, 10])


def labels_of(split):
    return (int(label) for _, label in split.examples)


def test_one_name_in_two_ways_is_refused(class_folders):
    with pytest.raises(InputError, match="twice, in two ways of Unicode"):
        data.load(str(class_folders(COMPOSED, DECOMPOSED)))


@pytest.mark.slow
def test_names_are_utf_8_in_every_locale(class_folders):
    root = class_folders(COMPOSED, "b")
    code = "import sys; from larq_insta import data; print(ascii(data.load('.').class_names))"
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ascii(("b", COMPOSED))
