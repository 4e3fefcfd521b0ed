"""`card`: what a file is, of any that larq_insta has written."""

import json
import shutil
from functools import partial

import pytest
import tensorflow as tf
from conftest import FIXTURES, run

from larq_insta.checkpoints import keras_files
from larq_insta.zoo import pretrained
from larq_insta_runtime import flatbuffer, packaged
from larq_insta_runtime.card import Card
from larq_insta_runtime.cli import cli
from larq_insta_runtime.preprocessing import Preprocessing

run_here = partial(run, group=cli)
FILE = packaged.converted("fashion_mnist")
CHECKPOINT = pretrained.checkpoint("fashion_mnist")


def text(path, called=run):
    return " ".join(called("card", path).split())


@pytest.fixture
def written(tmp_path):
    """A converted file with another card."""

    def write(**changes):
        path = tmp_path / "model.tflite"
        path.write_bytes(flatbuffer.pack(flatbuffer.unpack(FILE.read_bytes())))
        card = Card.read(FILE)
        Card(**{**card.__dict__, **changes}).append_to(path)
        return path

    return write


@pytest.mark.parametrize("called", [run, run_here])
@pytest.mark.parametrize("file", ["digits.keras", "digits.tflite"])
def test_files_of_both_kinds_are_told(file, called):
    path = FIXTURES / "0.1.0" / file
    found = text(path, called)
    assert found.startswith("Insta")
    assert f"10 classes of digits file {file}, {path.stat().st_size:,} bytes" in found
    assert ("8 binary convolutions, takes float32 1 x 8 x 8 x 1" in found) == ("tflite" in file)
    assert "bilinear to 8 x 8 pixels, grey, as (pixel - 127.5) / 127.5" in found
    assert "classes 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 arguments filters [4, 8], plus true" in found
    assert "trained on digits teacher none settings" in found
    assert "epochs [2]" in found
    assert "seed 0" in found
    assert "versions larq_insta 0.1.0, tensorflow 2.15.1" in found
    assert "licence not said in the file" in found


def test_accuracy_is_what_the_commands_left_beside_the_file(tmp_path):
    lite, best = tmp_path / "model.tflite", tmp_path / "best.keras"
    shutil.copy(FILE, lite)
    shutil.copy(CHECKPOINT, best)
    unsaid = "accuracy not said beside the file: measure it with `larq-insta evaluate`"
    assert unsaid in text(lite)
    assert unsaid in text(best)
    shutil.copy(FILE.with_name(f"{FILE.name}.json"), tmp_path / "model.tflite.json")
    result = {"checkpoint": "best.keras", "test_accuracy": 0.8765}
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert "accuracy 90.40% of 1,000 test pictures, as model.tflite.json beside" in text(lite)
    assert "accuracy 87.65% of test pictures, as result.json beside the file says" in text(best)
    assert unsaid in text(best.rename(tmp_path / "last.keras"))
    for damaged in ("{", "[]", '{"file_accuracy": "high", "pictures": 3}', '{"pictures": []}'):
        (tmp_path / "model.tflite.json").write_text(damaged)
        assert unsaid in text(lite)


def test_a_copy_of_a_trained_model_is_a_file_as_any_other(tmp_path):
    assert "## Limits" in text("fashion_mnist")
    assert "## Limits" in text(FILE)
    assert "## Limits" not in text(shutil.copy(FILE, tmp_path))


def test_pictures_of_photographs_are_told_with_their_colours(tmp_path):
    colours = Preprocessing(8, 3, 0.875, (120.0, 115.0, 100.0), (60.0,), "bicubic")
    card = Card("Net", {}, "pets", tuple(f"c{i}" for i in range(1000)), colours)
    path = tmp_path / "net.keras"
    inputs = tf.keras.Input((8, 8, 3))
    keras_files.save(tf.keras.Model(inputs, tf.keras.layers.Flatten()(inputs)), path, card)
    found = text(path)
    assert "Net, 1,000 classes of pets" in found
    assert "square of 0.875 times the shorter side, bicubic to 8 x 8 pixels, RGB" in found
    assert "as (pixel - 120 115 100) / 60" in found
    assert "c18, c19 and 980 more arguments - trained on pets" in found


def test_cards_of_strangers_do_not_move_the_cursor(written):
    path = written(model="\x1b[2J", dataset="a\nb", training={"x": "\x1b]0;", "y": {"z": [1e999]}})
    output = run("card", path)
    assert "\x1b" not in output
    assert output.startswith("\\x1b[2J, 10 classes of a\\nb\n")


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("none.keras", "A model file must exist; got"),
        (".", "A model file must exist; got"),
        ("text.keras", "A model file must carry a card;"),
        ("weights.h5", "A model file must carry a card;"),
        ("text.tflite", "A converted model must be a TFLite file;"),
        ("bare.tflite", "A model file must carry a card;"),
        ("cut.tflite", "is damaged"),
        ("cut.keras", "A model file must carry a card;"),
    ],
)
def test_what_is_none_of_our_files_is_refused_in_one_line(file, words, tmp_path):
    for name in ("text.keras", "weights.h5", "text.tflite"):
        (tmp_path / name).write_text("something")
    (tmp_path / "bare.tflite").write_bytes(flatbuffer.pack(flatbuffer.unpack(FILE.read_bytes())))
    (tmp_path / "cut.tflite").write_bytes(FILE.read_bytes()[:50_000])
    (tmp_path / "cut.keras").write_bytes(CHECKPOINT.read_bytes()[:50_000])
    output = run("card", tmp_path / file, code=2)
    (line,) = [line for line in output.splitlines() if line.startswith("Error: ")]
    assert words in line
