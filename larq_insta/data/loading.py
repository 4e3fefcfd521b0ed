"""Data sets of labelled pictures, by name or folder."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from larq_insta.data import fetching, tfds
from larq_insta.data.caching import with_cache
from larq_insta.data.dataset import ImageDataset, Split
from larq_insta.data.preprocessing import decode, photo_crops, photo_preprocessing, shifts
from larq_insta.lite import pictures
from larq_insta.lite.errors import InputError, first_line
from larq_insta.lite.preprocessing import LARGEST_SIZE, Preprocessing

_SPLIT_SEED = 0


def load(
    name: str,
    *,
    image_size: int | None = None,
    data_dir: str | None = None,
    manual_dir: str | None = None,
    validation_share: float = 0.1,
    cache: str | None = None,
) -> ImageDataset:
    """Loads a data set.

    # Arguments
        name: `"digits"` (embedded), the name of a TensorFlow Datasets image classification
            set, or a folder: of class folders, or of `train` and `test` with these.
        image_size: Pixels a side that the model sees; by default the pictures' own size
            where all have the same, else 224.
        data_dir: Where TensorFlow Datasets keeps its files.
        manual_dir: Where files lie that TensorFlow Datasets need not download.
        validation_share: Share of the training pictures held out for validation, the
            same ones every time.
        cache: `"memory"` or a folder, where files' contents are kept; see
            `caching.with_cache`. Small pictures are in memory anyway.

    # Raises
        InputError: if there is no such data set or it cannot be read.
    """
    if not 0 <= validation_share < 1:
        raise InputError(
            f"The validation share must be at least 0 and below 1; got {validation_share}."
        )
    if image_size is not None and not 8 <= image_size <= LARGEST_SIZE:
        raise InputError(
            f"The image size must be from 8 to {LARGEST_SIZE} pixels; got {image_size}."
        )
    if not name:
        raise InputError("A data set must have a name; got '': write ./ for this folder.")
    if name == "digits":
        return _digits(image_size, validation_share)
    if "/" in name or "\\" in name or Path(name).is_dir():
        dataset = _folder(Path(name), image_size or 224, validation_share)
        contents = partial(_listing, Path(name))
    else:
        dataset = tfds.load(name, image_size, data_dir, manual_dir, validation_share)
        contents = partial(tfds.contents, name, data_dir)
    if cache is None or dataset.decode is tf.identity:
        return dataset
    return with_cache(dataset, cache, contents(validation_share))


def _digits(image_size: int | None, validation_share: float) -> ImageDataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    train, test, train_labels, test_labels = train_test_split(
        images,
        digits.target,
        test_size=0.2,
        random_state=_SPLIT_SEED,
        stratify=digits.target,
    )
    pre = Preprocessing(size=image_size or 8, channels=1)
    return ImageDataset(
        "digits",
        tuple(str(digit) for digit in digits.target_names),
        pre,
        shifts(pre, 1, flip=False),
        tf.identity,
        *_splits((train, train_labels), (test, test_labels), validation_share),
    )


def _folder(root: Path, size: int, validation_share: float) -> ImageDataset:
    from sklearn.model_selection import train_test_split

    if not root.is_dir():
        raise InputError(f"A data set's folder must exist; got {str(root)!r}: check the path.")
    parts = [root / "train", root / "test"]
    if all(part.is_dir() for part in parts):
        names = _class_folders(parts[0])
        if _class_folders(parts[1]) != names:
            raise InputError(
                f"The folders {parts[0]} and {parts[1]} must hold the same class folders; got "
                f"{', '.join(names)} and {', '.join(_class_folders(parts[1]))}."
            )
        train, test = (_pictures(part, names) for part in parts)
    else:
        names = _class_folders(root)
        paths, labels = _pictures(root, names)
        try:
            paths, test_paths, labels, test_labels = train_test_split(
                paths, labels, test_size=0.2, random_state=_SPLIT_SEED, stratify=labels
            )
        except ValueError as error:
            raise InputError(
                f"{root} has too few pictures to hold some out for testing "
                f"({first_line(error)}): add pictures."
            ) from error
        train, test = (paths, labels), (test_paths, test_labels)
    pre = photo_preprocessing(size)
    return ImageDataset(
        str(root),
        tuple(names),
        pre,
        photo_crops(pre),
        partial(decode, pre),
        *_splits(train, test, validation_share),
        fetch=fetching.fetch,
    )


def _listing(root: Path, validation_share: float) -> str:
    """Names what is read of a folder, for a cache."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    stamps = [f"{path} {(stat := path.stat()).st_size} {stat.st_mtime_ns}" for path in files]
    return "\n".join([str(validation_share), *stamps])


def _class_folders(root: Path) -> list[str]:
    names = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(names) < 2:
        raise InputError(
            f"A data set's folder must hold one folder for each class, two at least; got "
            f"{len(names)} in {root}."
        )
    for name in names:
        if not _is_text(name):
            raise InputError(
                f"Names of class folders must be UTF-8, as they name the classes; got "
                f"{os.fsencode(name)!r} in {root}: rename it."
            )
    return names


def _is_text(name: str) -> bool:
    # What is not UTF-8 in names of files becomes surrogates, which nothing can write.
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _pictures(root: Path, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    found = [
        (os.fsencode(path), label)
        for label, name in enumerate(names)
        for path in sorted((root / name).iterdir())
        if path.suffix.lower() in pictures.SUFFIXES
    ]
    labels = np.array([label for _, label in found], np.int64)
    missing = sorted(set(range(len(names))) - set(labels.tolist()))
    if missing:
        raise InputError(
            f"Every class folder must hold pictures ({', '.join(pictures.SUFFIXES)}); "
            f"{root / names[missing[0]]} holds none."
        )
    return np.array([path for path, _ in found]), labels


def _splits(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    validation_share: float,
) -> tuple[Split, Split, Split]:
    """Arrays of pictures or paths, and of labels, in three parts."""
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(train[1]))
    held_out = round(len(order) * validation_share)
    return (
        _split(train[0][order[held_out:]], train[1][order[held_out:]]),
        _split(train[0][order[:held_out]], train[1][order[:held_out]]),
        _split(*test),
    )


def _split(items: np.ndarray, labels: np.ndarray) -> Split:
    pairs = (items, labels.astype(np.int64))
    return Split(tf.data.Dataset.from_tensor_slices(pairs), len(labels))
