"""Classes are told by their names: of a model and a data set, a student and what it begins with."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import run

from larq_insta import data, models
from larq_insta.checkpoints import keras_files
from larq_insta.checkpoints.initial import InitialWeights
from larq_insta.data.preprocessing import photo_view
from larq_insta.training import distillation
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.preprocessing import Preprocessing

COLOURS = {"black": 0, "grey": 128, "white": 255}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Makes a data set of plain pictures in folders of the given names."""

    def make(**shades):
        root = tmp_path_factory.mktemp("folders") / "plain"
        for name, shade in shades.items():
            (root / name).mkdir(parents=True)
            for i in range(5):
                picture = np.full((20, 24 + i, 3), shade, np.uint8)
                (root / name / f"{i}.png").write_bytes(tf.io.encode_png(picture).numpy())
        return root

    return make


@pytest.fixture(scope="module")
def knowing(tmp_path_factory):
    """Makes a checkpoint that tells plain pictures from dark to light by names."""

    def make(*names, channels=3):
        inputs = tf.keras.Input((8, 8, channels))
        shade = tf.keras.layers.GlobalAveragePooling2D()(inputs)
        x = tf.keras.layers.Dense(len(names), "softmax", name="head")(shade)
        model = tf.keras.Model(inputs, x)
        middles = np.linspace(-1, 1, len(names))  # nearest of them, as 2 m x - m ** 2
        kernel = np.tile(20 * middles / channels, (channels, 1))
        model.get_layer("head").set_weights([kernel, -10 * middles**2])
        path = tmp_path_factory.mktemp("model") / "m.keras"
        pre = Preprocessing(8, channels)
        keras_files.save(model, path, Card("plain", {}, "none", names, pre))
        return path

    return make


def evaluated(checkpoint, root):
    output = run("evaluate", checkpoint, "--dataset", root)
    return float(output.split("Test accuracy ")[1].split("%")[0])


@pytest.mark.parametrize(
    "names",
    [
        ("black", "grey", "white"),  # of the folders' order
        ("grey", "white", "black"),
        ("white", "black", "grey"),
    ],
)
def test_labels_are_the_models_in_whatever_order(folders, knowing, names):
    # `names` are what the model calls dark, middle and light pictures.
    root = folders(**dict(zip(names, COLOURS.values(), strict=True)))
    assert evaluated(knowing(*names), root) == 100


def test_some_of_the_models_classes_are_enough(folders, knowing):
    model = knowing("dark", "grey", "light")
    assert evaluated(model, folders(light=255, dark=0)) == 100
    assert evaluated(model, folders(light=0, dark=255)) == 0


def test_pictures_are_prepared_as_the_model_was_trained(folders, knowing):
    root = folders(black=0, white=255)
    assert evaluated(knowing("black", "white", channels=1), root) == 100
    assert data.load(str(root), image_size=8).preprocessing == photo_view(8)  # another


@pytest.mark.parametrize(
    ("names", "strange"),
    [(("Dog", "cat"), "Dog"), (("apple", "pear"), "apple, pear"), (("cat", "dog", "eel"), "eel")],
)
@pytest.mark.parametrize("command", ["evaluate", "inspect", "convert"])
def test_unknown_classes_are_refused(folders, knowing, tmp_path, command, names, strange):
    model, root = knowing("cat", "dog"), folders(**dict.fromkeys(names, 0))
    target = {"evaluate": [], "inspect": [tmp_path / "page"], "convert": [tmp_path / "m.tflite"]}
    output = run(command, model, *target[command], "--dataset", root, code=2)
    assert f"has {strange} besides, the model knows cat, dog: rename the classes" in output
    assert not list(tmp_path.iterdir())


def test_accents_are_the_same_however_they_are_written(folders, knowing):
    root = folders(café=0, tea=255)
    (root / "caf\u00e9").rename(root / "cafe\u0301")
    assert evaluated(knowing("caf\u00e9", "tea"), root) == 100
    assert evaluated(knowing("cafe\u0301", "tea"), root) == 100


def test_relabelled_pictures_are_the_same(folders):
    dataset = data.load(str(folders(a=0, b=255)), image_size=8)
    other = dataset.labelled_as(("b", "x", "a"))
    for part in ("train", "validation", "test"):
        pairs = zip(getattr(dataset, part).examples, getattr(other, part).examples, strict=True)
        for (path, label), (same, new) in pairs:
            assert path == same
            assert new == {0: 2, 1: 0}[int(label)]
    assert dataset.labelled_as(dataset.class_names) is dataset


@pytest.mark.slow
@pytest.mark.parametrize("names", [tuple("9876543210"), tuple("abcdefghij")])
def test_teachers_and_beginnings_of_other_classes(tmp_path, names):
    digits = data.load("digits")
    model = models.ReActNet18(input_shape=(8, 8, 1), num_classes=10, stem="small", filters=(4,))
    path = tmp_path / "other.keras"
    keras_files.save(model, path, Card("x", {}, "d", names, digits.preprocessing))
    learned = ", ".join(names[:5])
    with pytest.raises(InputError, match=f"learned {learned} and 5 more, digits has 0, 1, 2, 3, 4"):
        distillation.load_teacher(str(path), digits)
    initial = InitialWeights.find(str(path))
    remark = initial.remark(digits.class_names, new_head=False)
    assert f"told apart {learned} and 5 more; it learns 0, 1, 2" in remark
    assert initial.remark(names, new_head=False) == f"All weights are those of {path}."
