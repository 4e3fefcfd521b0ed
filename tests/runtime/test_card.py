"""Cards that do not fit their networks."""

import json
import zipfile

import pytest
import tensorflow as tf

from larq_insta import runtime
from larq_insta.checkpoints import keras_files
from larq_insta.zoo import pretrained
from larq_insta_runtime import flatbuffer, packaged
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError

FILE = packaged.converted("fashion_mnist")


def card_changed(path, target, **changes):
    with zipfile.ZipFile(path) as source:
        members = {name: source.read(name) for name in source.namelist()}
    card = json.loads(members["larq_insta.json"]) | changes
    members["larq_insta.json"] = json.dumps(card).encode()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


PREPROCESSING = {"size": 28, "channels": 1}
CARDS = [
    ({"preprocessing": PREPROCESSING | {"size": 27}}, "must be that of its network"),
    ({"preprocessing": PREPROCESSING | {"channels": 3}}, "must be that of its network"),
    ({"preprocessing": PREPROCESSING | {"size": "28"}}, "`size` of a preprocessing must be"),
    ({"preprocessing": PREPROCESSING | {"size": 10**9}}, "`size` of a preprocessing must be"),
    ({"preprocessing": PREPROCESSING | {"crop": 0}}, "`crop` of a preprocessing must be"),
    ({"preprocessing": PREPROCESSING | {"mean": [1, 2]}}, "`mean` of a preprocessing must be"),
    ({"preprocessing": PREPROCESSING | {"std": [0]}}, "`std` of a preprocessing must be"),
    ({"preprocessing": PREPROCESSING | {"std": ["x"]}}, "`std` of a preprocessing must be"),
    ({"preprocessing": PREPROCESSING | {"resampling": 3}}, "`resampling` of a preprocessing"),
    ({"preprocessing": {"shape": 28}}, "of another version"),
    ({"preprocessing": 3}, "of another version"),
    ({"class_names": ["a", "b"]}, "must be that of its network"),
    ({"class_names": [1] * 10}, "is damaged: class_names"),
    ({"class_names": None}, "of another version"),
    ({"dataset": 7}, "is damaged: dataset"),
    ({"training": []}, "is damaged: training"),
    ({"surprise": 1}, "of another version"),
]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A network of a moment with the card of the trained one."""
    inputs = tf.keras.Input((28, 28, 1))
    x = tf.keras.layers.GlobalAveragePooling2D()(inputs)
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(10, "softmax")(x))
    path = tmp_path_factory.mktemp("original") / "model.keras"
    keras_files.save(model, path, Card.read(pretrained.checkpoint("fashion_mnist")))
    return path


def test_a_card_that_was_not_changed_is_read(original, tmp_path):
    model = runtime.KerasModel(card_changed(original, tmp_path / "model.keras"))
    assert model.card == Card.read(original)


@pytest.mark.quick(6)
@pytest.mark.parametrize(("changes", "message"), CARDS)
def test_cards_must_fit_their_networks(changes, message, original, tmp_path):
    with pytest.raises(InputError, match=message):
        runtime.KerasModel(card_changed(original, tmp_path / "model.keras", **changes))


def test_cards_of_converted_files_must_fit_too(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(flatbuffer.pack(flatbuffer.unpack(FILE.read_bytes())))
    card = runtime.LiteModel(FILE).card
    card.__class__(**{**card.__dict__, "class_names": ("a", "b")}).append_to(path)
    with pytest.raises(InputError, match=r"takes \(1, 28, 28, 1\) and gives \(1, 10\), its card"):
        runtime.open_model(path)
