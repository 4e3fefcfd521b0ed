"""Which pictures are held out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_layouts import fill, load, sizes

from larq_insta.data import splits
from larq_insta.lite.errors import InputError


def in_three(counts, share, tested=False):
    labels = np.repeat(np.arange(len(counts)), counts)
    names = [str(i) for i in range(len(counts))]
    parts = splits.in_three(labels, names, share, tested)
    return labels, parts


@given(st.lists(st.integers(3, 60), min_size=1, max_size=6), st.floats(0.01, 0.99))
def test_every_part_has_some_of_every_class_and_no_picture_twice(counts, share):
    labels, parts = in_three(counts, share)
    for part in parts:
        assert set(labels[part]) == set(range(len(counts)))
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))


@given(st.lists(st.integers(20, 200), min_size=2, max_size=6), st.floats(0.1, 0.5))
def test_shares_of_classes_are_alike(counts, share):
    labels, (train, validation, test) = in_three(counts, share)
    for part, of, wanted in (
        (test, labels, splits.TEST_SHARE),
        (validation, labels[np.concatenate([train, validation])], share),
    ):
        taken, there = (np.bincount(x, minlength=len(counts)) for x in (labels[part], of))
        assert np.abs(taken - wanted * there).max() <= 2  # of whole pictures


def test_small_classes_are_in_every_part_or_refused():
    labels, (train, validation, test) = in_three([23, 2], 0.0)
    assert [np.bincount(labels[part]).tolist() for part in (train, test)] == [[18, 1], [5, 1]]
    assert not len(validation)
    with pytest.raises(InputError, match=r"3 pictures at least.* '1' has too few pictures, 2"):
        in_three([23, 2], 0.1)
    with pytest.raises(
        InputError, match="one each to train, validate with; '1' .* few pictures, 1"
    ):
        in_three([23, 1], 0.1, tested=True)
    in_three([23, 1], 0.0, tested=True)


def test_classes_without_any_pictures_ask_for_none():
    labels = np.repeat([1, 3], 10)  # as some sets of TensorFlow Datasets name more than they have
    train, validation, test = splits.in_three(labels, "abcd", 0.1, tested=False)
    assert [len(train), len(validation), len(test)] == [14, 2, 4]


def test_folders_are_held_to_it(tmp_path):
    fill(tmp_path, {"cat": 23, "dog": 2})
    with pytest.raises(InputError, match=r"'dog' has too few pictures, 2: add some, or take --val"):
        load(tmp_path)
    fill(tmp_path, {"dog": 1}, start=2)
    dataset = load(tmp_path)
    labels = [[y for _, y in p.examples] for p in (dataset.train, dataset.validation, dataset.test)]
    assert all(set(map(int, part)) == {0, 1} for part in labels)
    assert sum(sizes(dataset)) == 26
