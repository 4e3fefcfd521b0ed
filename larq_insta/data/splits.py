"""Which pictures are held out of training: the same ones every time, some of every class."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from larq_insta.lite.errors import InputError

PARTS = ("train", "validation", "test")
TEST_SHARE = 0.2
"""Of the pictures where none are set apart for testing."""
TEST_SEED, _VALIDATION_SEED = 0, 1

Places = np.ndarray
"""Of pictures among all."""
Arrays = tuple[np.ndarray, np.ndarray]
"""Pictures, or paths of theirs, and labels."""
T = TypeVar("T")


def by_use(
    parts: Mapping[str, T], words: Callable[[T], str], validation_share: float
) -> tuple[dict[str, T], list[str]]:
    """Parts of a data set by what they are used for, and what to say of that.

    # Arguments
        parts: Some of `PARTS`.
        words: Says which one a part is.
        validation_share: Whether there is to be any validation.
    """
    used = dict(parts)
    if "validation" not in parts:
        return used, []
    validation = used.pop("validation")
    if "test" not in parts:
        note = f"Tested on {words(validation)}, as nothing else is for it."
        return {**used, "test": validation}, [note]
    if not validation_share:
        return used, []
    note = f"Validated on {words(validation)}, whatever the validation share is."
    return {**used, "validation": validation}, [note]


def of_arrays(
    arrays: Mapping[str, Arrays], names: Sequence[str], validation_share: float
) -> tuple[Arrays, Arrays, Arrays]:
    """To train, to validate and to test with; what is not set apart is held out of `"train"`."""
    first = next(iter(arrays.values()))
    items, labels = arrays.get("train", (first[0][:0], first[1][:0]))
    share = 0.0 if "validation" in arrays else validation_share
    train, validation, test = in_three(labels, names, share, tested="test" in arrays)
    return (
        (items[train], labels[train]),
        arrays.get("validation", (items[validation], labels[validation])),
        arrays.get("test", (items[test], labels[test])),
    )


def mixed(items: np.ndarray, labels: np.ndarray) -> Arrays:
    """In another order than class by class, so that any first ones are of many classes."""
    order = np.random.default_rng(0).permutation(len(labels))
    return items[order], labels[order]


def in_three(
    labels: np.ndarray, names: Sequence[str], validation_share: float, tested: bool
) -> tuple[Places, Places, Places]:
    """Pictures to train, to validate and to test with.

    # Arguments
        labels: Of all pictures, numbers of `names`; of a class without any nothing is asked.
        names: Of the classes.
        validation_share: Share of the training pictures held out for validation.
        tested: Whether pictures for testing are set apart already; else some are taken.

    # Raises
        InputError: if a class has too few pictures.
    """
    purposes = ["train", *["validate"] * bool(validation_share), *["test"] * (not tested)]
    _check(labels, names, purposes)
    everything = np.arange(len(labels))
    train, test = everything, everything[:0]
    if not tested:
        train, test = _held_out(labels, everything, TEST_SHARE, TEST_SEED)
    train, validation = _held_out(labels, train, validation_share, _VALIDATION_SEED)
    return train, validation, test


def _check(labels: np.ndarray, names: Sequence[str], purposes: Sequence[str]) -> None:
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        if count < len(purposes):
            share = ", or take --validation-share 0" if "validate" in purposes else ""
            raise InputError(
                f"Every class must have {len(purposes)} pictures at least, one each to "
                f"{', '.join(purposes)} with; {names[label]!r} has too few pictures, {count}: add "
                f"some{share}."
            )


def _held_out(labels: np.ndarray, places: Places, share: float, seed: int) -> tuple[Places, Places]:
    """Those kept and those taken, a share of every class as nearly as whole pictures allow."""
    from sklearn.model_selection import train_test_split

    if not share or not len(places):
        return places, places[:0]
    classes = len(np.unique(labels[places]))
    count = min(max(math.ceil(share * len(places)), classes), len(places) - classes)
    kept, taken = train_test_split(
        places,
        test_size=count,
        train_size=len(places) - count,
        random_state=seed,
        stratify=labels[places],
    )
    taken, kept = _lent(kept, taken, labels)
    return _lent(taken, kept, labels)


def _lent(giver: Places, taker: Places, labels: np.ndarray) -> tuple[Places, Places]:
    """The taker, with one picture of each class that only the giver had, and what is left."""
    lacking = np.setdiff1d(labels[giver], labels[taker])
    moved = [giver[labels[giver] == label][0] for label in lacking]
    return np.concatenate([taker, moved]).astype(int), giver[~np.isin(giver, moved)]


def digest(parts: Iterable[Iterable[bytes]]) -> str:
    """Of what the parts of a data set hold, in their order."""
    lines = (line for part in parts for line in (*part, b""))
    return hashlib.sha256(b"\0".join(lines)).hexdigest()[:16]
