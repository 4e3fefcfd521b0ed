"""Folders as people have them: parts under many names, depths, and what lies beside pictures."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import arrays

from larq_insta import data
from larq_insta.lite.errors import InputError

PNG = tf.io.encode_png(np.full((9, 9, 3), 200, np.uint8)).numpy()


def fill(root, counts, start=0):
    """Makes pictures by their folders and numbers."""
    for place, count in counts.items():
        (root / place).mkdir(parents=True, exist_ok=True)
        for i in range(start, start + count):
            (root / place / f"{i:03}.png").write_bytes(PNG)


def load(root, **arguments):
    return data.load(str(root), image_size=8, **arguments)


def sizes(dataset):
    return [part.size for part in (dataset.train, dataset.validation, dataset.test)]


def paths(split):
    return [os.fsdecode(path) for path, _ in split.examples.as_numpy_iterator()]


@pytest.mark.parametrize(
    ("parts", "expected", "note"),
    [
        ("train test", [18, 2, 20], None),
        ("Train Test", [18, 2, 20], None),
        ("training testing", [18, 2, 20], None),
        ("train valid test", [20, 20, 20], "Validated on {root}/valid, whatever the"),
        ("TRAIN Validation TEST", [20, 20, 20], "Validated on {root}/Validation"),
        ("train val", [18, 2, 20], "Tested on {root}/val, as nothing else is for it"),
        ("train", [14, 2, 4], None),
        ("test", [0, 0, 20], None),
        ("valid test", [0, 20, 20], "Validated on {root}/valid"),
    ],
)
def test_every_layout_is_understood(tmp_path, parts, expected, note):
    fill(tmp_path, {f"{part}/{name}": 10 for part in parts.split() for name in ("a", "b")})
    dataset = load(tmp_path)
    assert dataset.class_names == ("a", "b")
    assert sizes(dataset) == expected
    assert (
        [x.startswith(note.format(root=tmp_path)) for x in dataset.notes] == [True]
        if note
        else (not dataset.notes)
    )


@pytest.mark.parametrize("parts", ["train test", "train valid test"])
@pytest.mark.parametrize("share", [0, 0.1])
def test_the_first_pictures_of_every_part_are_of_all_classes(tmp_path, parts, share):
    # `convert`, `inspect` and TensorBoard look at these, and caches on disk keep the order.
    fill(tmp_path, {f"{part}/{name}": 40 for part in parts.split() for name in "abc"})
    dataset = load(tmp_path, validation_share=share)
    for split in (dataset.train, dataset.validation, dataset.test):
        labels = [int(label) for _, label in split.examples.take(12)]
        assert set(labels) == ({0, 1, 2} if split.size else set())


def test_without_a_validation_share_nothing_validates(tmp_path):
    fill(tmp_path, {f"{part}/{name}": 5 for part in ("train", "val", "test") for name in "ab"})
    assert sizes(load(tmp_path, validation_share=0)) == [10, 0, 10]


def test_a_train_is_a_class_among_others(tmp_path):
    fill(tmp_path, {"car": 5, "plane": 5, "train": 5})
    assert load(tmp_path).class_names == ("car", "plane", "train")


def test_what_is_no_part_is_named(tmp_path):
    fill(tmp_path, {"train/a": 5, "train/b": 5, "val/a": 5, "val/b": 5, "labels": 5, "test": 3})
    assert load(tmp_path).notes == (
        f"Left out of {tmp_path}: the folders labels.",
        f"Left out: {tmp_path}/test, as it has no class folders.",
        f"Tested on {tmp_path}/val, as nothing else is for it.",
    )


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (["train/a", "Train/a", "test/a"], "one folder for train; .* has Train and train"),
        (["train/a", "train/b", "val/a", "valid/a"], "validation; .* has val and valid"),
        (["train/a", "train/b", "test/a", "test/c"], "same class folders; b, c is in one of"),
        (["train/a", "train/b", "val/a", "test/a", "test/b"], "two at least; got 1 in .*val"),
    ],
)
def test_unclear_layouts_are_refused(tmp_path, places, words):
    fill(tmp_path, dict.fromkeys(places, 3))
    with pytest.raises(InputError, match=words):
        load(tmp_path)


def test_pictures_in_folders_of_a_class_are_its(tmp_path):
    fill(tmp_path, {"a": 4, "a/2023": 6, "a/2024/may": 10, "b/c": 10, "b": 10})
    dataset = load(tmp_path, validation_share=0)
    assert dataset.class_names == ("a", "b")
    assert sizes(dataset) == [32, 0, 8]
    _, labels = arrays(dataset.evaluation_batches(dataset.train))
    assert labels.tolist() == [int("/b/" in path) for path in paths(dataset.train)]
    assert dataset.notes == (
        f"26 pictures of {tmp_path} lie deeper than in the folder of their class, and count to it; "
        f"the first is {tmp_path}/a/2023/000.png.",
    )


def test_links_that_lead_up_again_end(tmp_path):
    fill(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    (tmp_path / "b" / "more").symlink_to(tmp_path / "a")
    assert sum(sizes(load(tmp_path))) == 15


HIDDEN = ["._000.png", ".DS_Store", ".hidden/000.png", "__MACOSX/000.png", "@eaDir/000.png"]


@pytest.mark.parametrize("place", ["", "a/"])
@pytest.mark.parametrize("name", HIDDEN)
def test_what_is_hidden_is_passed_over(tmp_path, name, place):
    fill(tmp_path, {"a": 5, "b": 5})
    before = load(tmp_path)
    hidden = tmp_path / f"{place}{name}"
    hidden.parent.mkdir(exist_ok=True)
    hidden.write_bytes(b"\x00\x05\x16\x07 of a system")
    after = load(tmp_path)
    assert after.class_names == ("a", "b")
    assert paths(after.train) == paths(before.train)
    assert (after.source, after.notes) == (before.source, ())


def test_what_is_no_picture_is_left_out_and_named(tmp_path):
    fill(tmp_path, {"a": 5, "b": 5})
    for name, content in {
        "empty.png": b"",
        "page.jpg": b"<!DOCTYPE html>",
        "scan.tif": b"II*\0",
        "notes.txt": b"",
        "README": b"",
    }.items():
        (tmp_path / "a" / name).write_bytes(content)
    (tmp_path / "folder.png").mkdir()
    shutil.move(tmp_path / "folder.png", tmp_path / "b" / "folder.png")
    (tmp_path / "stray.png").write_bytes(PNG)
    dataset = load(tmp_path)
    assert sum(sizes(dataset)) == 10
    assert dataset.notes == (
        f"Left out of {tmp_path}, as no JPEG, PNG, GIF, BMP or WebP files: 1 (.jpg), 1 (.png), "
        f"1 (.tif), 1 (.txt), 1 (no suffix); the first is {tmp_path}/a/README.",
        f"Left out of {tmp_path}, as in no class's folder: 1.",
    )
    dataset.test_pictures(2)


def test_a_link_to_nowhere_is_no_smaller_data_set(tmp_path):
    fill(tmp_path, {"a": 5, "b": 5})
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(InputError, match=r"readable; .*gone.png is not \(No such file"):
        load(tmp_path)


def test_names_of_classes_are_the_same_however_they_are_written(tmp_path):
    fill(tmp_path, {"train/caf\u00e9": 3, "train/tea": 3, "test/cafe\u0301": 3, "test/tea": 3})
    assert load(tmp_path).class_names == ("caf\u00e9", "tea")
    fill(tmp_path, {"train/cafe\u0301": 3})
    with pytest.raises(InputError, match="'caf\u00e9' twice"):
        load(tmp_path)


def test_test_pictures_are_those_of_0_1_0(tmp_path):
    # Else a model of that version would be tested on what it was trained on.
    fill(tmp_path, {"a": 10, "b": 10})
    found = [str(Path(path).relative_to(tmp_path)) for path in paths(load(tmp_path).test)]
    assert found == ["a/000.png", "b/007.png", "a/005.png", "b/004.png"]
