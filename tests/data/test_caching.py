"""Contents of files, kept."""

import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import TINY, arrays, assert_same_weights, run, without_tracing

from larq_insta import data
from larq_insta_runtime.errors import InputError


def batches(dataset, epochs=range(2)):
    return arrays(dataset.training_batches(7, seed=0, epochs=epochs))


@pytest.mark.quick(1)
@pytest.mark.parametrize("where", ["memory", "disk"])
def test_files_are_read_once(folder, tmp_path, where):
    where = str(tmp_path / "cache") if where == "disk" else where
    plain = batches(data.load(str(folder), image_size=24))
    dataset = data.load(str(folder), image_size=24, cache=where)
    first = batches(dataset)
    for path in folder.glob("*/*"):
        path.write_bytes(b"gone")
    again = batches(dataset)
    for expected, a, b in zip(plain, first, again, strict=True):
        np.testing.assert_array_equal(a, expected)
        np.testing.assert_array_equal(b, expected)


def test_a_cache_on_disk_serves_the_next_process_until_files_change(folder, tmp_path):
    cache = str(tmp_path / "cache")
    expected = batches(data.load(str(folder), image_size=24, cache=cache))
    files = sorted((tmp_path / "cache").iterdir())
    again = batches(data.load(str(folder), image_size=24, cache=cache))
    np.testing.assert_array_equal(again[0], expected[0])
    assert sorted((tmp_path / "cache").iterdir()) == files
    for path in folder.glob("*/*.JPG"):
        path.write_bytes((folder / "cat" / "1.JPG").read_bytes())
    changed = batches(data.load(str(folder), image_size=24, cache=cache))
    assert (changed[0] != expected[0]).any()


@pytest.mark.slow
def test_a_killed_process_leaves_nothing_that_stops_the_next(folder, tmp_path):
    script = f"""
import os
from larq_insta import data
dataset = data.load({str(folder)!r}, image_size=24, cache={str(tmp_path / "cache")!r})
iterator = iter(dataset.train.examples)
next(iterator)
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    left = list((tmp_path / "cache").glob("*"))
    assert any(path.suffix == ".lockfile" for path in left)
    batches(data.load(str(folder), image_size=24, cache=str(tmp_path / "cache")))
    names = {path.name for path in (tmp_path / "cache").iterdir()}
    assert not names & {path.name for path in left}
    assert len([name for name in names if f"-{os.getpid()}." in name]) == 2  # index and data


def test_the_unreadable_picture_is_named_though_cached(folder):
    (folder / "cat" / "3.JPG").write_bytes(b"\xff\xd8\xffno picture")
    dataset = data.load(str(folder), image_size=24, cache="memory", validation_share=0)
    parts = [dataset.train, dataset.test]
    pattern = "cat/3.JPG is not: restore, repair"
    with pytest.raises(InputError, match=pattern), dataset.naming_unreadable():
        [arrays(dataset.evaluation_batches(part)) for part in parts]


def test_the_folder_must_be_writable(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can be written"):
        data.load(str(folder), cache=str(tmp_path / "file" / "cache"))


def test_small_pictures_need_no_cache():
    assert data.load("digits", cache="memory").uncached is None


@pytest.mark.slow
def test_a_training_with_a_cache_ends_as_one_without(folder, tmp_path):
    options = ("--dataset", folder, "--image-size", 16, "--epochs", 1, "--batch-size", 7)
    with without_tracing():
        run("train", *TINY, *options, "--output", tmp_path / "plain")
        run("train", *TINY, *options, "--output", tmp_path / "cached", "--cache", "memory")
    assert_same_weights(tmp_path / "plain" / "last.keras", tmp_path / "cached" / "last.keras")
