"""Sets of TensorFlow Datasets that lack what most of them have."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import arrays

from larq_insta import data
from larq_insta.data import tfds as ours
from larq_insta_runtime.errors import InputError

NAMES = ["cat", "dog"]


def builder_class(splits, side=8, names=("image", "label"), supervised=True, label=None):
    """A data set; `splits` has the labels of each."""
    picture, truth = names

    class MadeUp(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = Path(__file__).parent

        def _info(self):
            features = {
                picture: tfds.features.Image(shape=(side, side, 3)),
                truth: label or tfds.features.ClassLabel(names=NAMES),
                "file": tfds.features.Text(),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=names if supervised else None,
            )

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples(x) for split, x in splits.items()}

        def _generate_examples(self, labels):
            for i, x in enumerate(labels):
                image = np.full((side or 9, side or 9, 3), i, np.uint8)
                yield i, {picture: image, truth: x, "file": f"{i}.png"}

    return MadeUp


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Loads a data set that is made for it, of small pictures or of photographs."""

    def loaded(splits, share=0.1, **kinds):
        made = builder_class(splits, **kinds)
        monkeypatch.setattr(tfds, "builder", lambda name, data_dir: made(data_dir=data_dir))
        place = str(tmp_path / str(abs(hash(repr(splits)))))
        return data.load("made_up", image_size=8, data_dir=place, validation_share=share)

    return loaded


def labels(dataset):
    """Of each part, how many of each class."""
    parts = [dataset.train, dataset.validation, dataset.test]
    found = [np.array([y for _, y in part.examples], int) for part in parts]
    assert [part.size for part in parts] == [len(x) for x in found]
    return [np.bincount(x, minlength=2).tolist() for x in found]


SIDES = pytest.mark.parametrize("side", [8, None])
BOTH = [0, 1] * 10


@pytest.mark.quick(3)
@SIDES
@pytest.mark.parametrize("supervised", [True, False])
@pytest.mark.parametrize("names", [("image", "label"), ("photo", "kind")])
def test_features_are_found_by_their_names_or_their_place(load, side, supervised, names):
    kinds = {"side": side, "supervised": supervised, "names": names}
    if not supervised and names != ("image", "label"):
        with pytest.raises(InputError, match="has file, kind, photo: choose another"):
            load({"train": BOTH, "test": BOTH}, **kinds)
        return
    dataset = load({"train": BOTH, "test": BOTH}, **kinds)
    assert labels(dataset) == [[9, 9], [1, 1], [10, 10]]
    images, _ = arrays(dataset.training_batches(9, seed=0, epochs=range(1)))
    assert images.shape == (18, 8, 8, 3)


@SIDES
def test_labels_that_are_no_classes_are_refused(load, side):
    with pytest.raises(InputError, match=r"Labels must be of named classes; those of made_up are"):
        load({"train": [0], "test": [0]}, side=side, label=tfds.features.Scalar(np.int64))


@pytest.mark.quick(4)
@SIDES
@pytest.mark.parametrize(
    ("splits", "expected", "words"),
    [
        ({"train": BOTH}, [[7, 7], [1, 1], [2, 2]], "Tested on 20% of made_up's train split"),
        ({"train": BOTH, "test": [-1] * 5}, [[7, 7], [1, 1], [2, 2]],
         "Left out of made_up: its test split, as it has no labels here"),
        ({"train": BOTH, "test": [-1] * 5, "validation": [0, 1, 1]}, [[9, 9], [1, 1], [1, 2]],
         "Tested on made_up's validation split, as nothing else is for it"),
        ({"train": BOTH, "validation": [0, 1, 1]}, [[9, 9], [1, 1], [1, 2]],
         "Tested on made_up's validation split"),
        ({"train": BOTH, "test": BOTH, "validation": [0, 1, 1]}, [[10, 10], [1, 2], [10, 10]],
         "Validated on made_up's validation split, whatever the validation share is"),
        ({"train": BOTH, "test": BOTH, "extra": BOTH}, [[9, 9], [1, 1], [10, 10]],
         "Left out of made_up: its extra split."),
        ({"test": BOTH}, [[0, 0], [0, 0], [10, 10]], None),
    ],
)  # fmt: skip
def test_every_set_of_splits_has_its_use(load, side, splits, expected, words):
    dataset = load(splits, side=side)
    assert labels(dataset) == expected
    assert any(note.startswith(words) for note in dataset.notes) if words else not dataset.notes


@pytest.mark.quick(1)
@SIDES
def test_files_that_are_not_here_are_asked_for_by_nobody(load, side, tmp_path):
    splits = {"train": BOTH, "test": BOTH, "validation": [0, 1, 1]}
    load(splits, side=side)
    for file in tmp_path.rglob("*-test.tfrecord*"):  # of ImageNet only few people have it
        file.unlink()
    assert labels(load(splits, side=side)) == [[9, 9], [1, 1], [1, 2]]


@SIDES
def test_sets_without_any_labels_are_refused(load, side):
    with pytest.raises(InputError, match="labelled pictures in a train.*; made_up has train, test"):
        load({"train": [-1], "test": [-1]}, side=side)


@SIDES
@pytest.mark.parametrize("looked_at", [1, 100])
def test_a_picture_without_a_label_is_refused(load, side, looked_at, monkeypatch):
    monkeypatch.setattr(ours, "_FIRST_LABELS", looked_at)
    with pytest.raises(InputError, match="the label of a class; some of made_up have -1"):
        load({"train": [0] * 20 + [-1], "test": [0, 1]}, side=side)


@SIDES
def test_held_out_pictures_are_of_every_class(load, side):
    few = [0] * 50 + [1] * 3
    assert labels(load({"train": few}, side=side)) == [[35, 1], [5, 1], [10, 1]]
    with pytest.raises(InputError, match="'dog' has too few pictures, 2"):
        load({"train": few[:-1], "more": [0]}, side=side)


@SIDES
def test_parts_share_no_picture_and_are_the_same_again(load, side):
    def parts():
        dataset = load({"train": BOTH}, side=side)
        found = [
            [int(dataset.decode(item)[0, 0, 0]) for item, _ in part.examples]
            for part in (dataset.train, dataset.validation, dataset.test)
        ]
        return found, dataset.source

    (train, validation, test), source = parts()
    assert sorted([*train, *validation, *test]) == list(range(20))
    assert parts() == ([train, validation, test], source)


def test_the_last_pictures_of_large_sets_are_held_out(load, monkeypatch):
    monkeypatch.setattr(ours, "_READ_THROUGH_BYTES", 1)
    dataset = load({"train": [0] * 50, "test": [0]}, side=8)
    assert [x.size for x in (dataset.train, dataset.validation, dataset.test)] == [45, 5, 1]
    dataset = load({"train": [0] * 50, "test": [0]}, side=8, share=0.0)
    assert [x.size for x in (dataset.train, dataset.validation, dataset.test)] == [50, 0, 1]
