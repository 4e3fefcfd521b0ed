"""Data sets of labelled pictures, by name or folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from larq_insta.data import folders, splits, tfds
from larq_insta.data.augmentation import CROPS, shifts
from larq_insta.data.caching import with_cache
from larq_insta.data.dataset import ImageDataset, Split
from larq_insta.data.preprocessing import photo_view
from larq_insta.lite.errors import InputError
from larq_insta.lite.preprocessing import LARGEST_SIZE, Preprocessing

_DIGITS = "digits"


def load(
    name: str,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    data_dir: str | None = None,
    manual_dir: str | None = None,
    validation_share: float = 0.1,
    augmentation: str | None = None,
    prepared: Preprocessing | None = None,
    like: Preprocessing | None = None,
    cache: str | None = None,
) -> ImageDataset:
    """Loads a data set.

    # Arguments
        name: `"digits"` (embedded), the name of a TensorFlow Datasets image classification
            set, or a folder: of class folders, or of `train` and others with these. Names
            come first: a folder that has one is written as a path, such as `./digits`.
        image_size: Pixels a side that the model sees; by default the pictures' own size
            where all have the same, else 224.
        channels: Of pictures in folders as the model sees them, 1 for grey or 3, the default.
        data_dir: Where TensorFlow Datasets keeps its files.
        manual_dir: Where files lie that TensorFlow Datasets need not download.
        validation_share: Share of the training pictures held out for validation, the
            same ones every time; of no effect but for 0 where others are for it.
        augmentation: What is drawn at random of training pictures, of `augmentation.KINDS`;
            by default crops, and mirroring where that is known to keep the class.
        prepared: How a model takes its pictures; by default as fits the data set and
            `image_size`.
        like: How a model that is trained further takes its pictures: the default of those in
            folders, which have neither size nor channels of their own.
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
    if channels not in (None, 1, 3):
        raise InputError(f"The channels must be 1 (grey) or 3 (colours); got {channels}.")
    if not name:
        raise InputError("A data set must have a name; got '': write ./ for this folder.")
    place = _find(name, data_dir)
    if place is None:
        dataset = _digits(image_size or 8, prepared, augmentation, validation_share)
    elif isinstance(place, Path):
        pre = prepared or _view(image_size, channels, like)
        dataset = folders.load(place, pre, augmentation, validation_share)
    else:
        dataset = tfds.load(
            place, name, manual_dir, image_size, prepared, augmentation, validation_share
        )
    _check_channels(dataset, channels)
    dataset = replace(dataset, notes=(*_shadowed(name, place), *dataset.notes))
    if cache is None or dataset.decode is tf.identity:
        return dataset
    stamps = folders.stamps(dataset) if isinstance(place, Path) else ""
    grey = " grey" if dataset.preprocessing.channels == 1 else ""
    return with_cache(dataset, cache, f"{dataset.source}{grey} {stamps}")


def _view(
    image_size: int | None, channels: int | None, like: Preprocessing | None
) -> Preprocessing:
    """Of pictures in folders."""
    size, colours = (like.size, like.channels) if like else (224, 3)
    wanted = (image_size or size, channels or colours)
    return like if like and wanted == (size, colours) else photo_view(*wanted)


def _check_channels(dataset: ImageDataset, channels: int | None) -> None:
    """Of pictures that are not decoded, but there as they are, or said to have others."""
    wanted = channels or dataset.preprocessing.channels
    if wanted != dataset.preprocessing.channels:
        raise InputError(
            f"Channels can be chosen for pictures in folders alone; those of {dataset.name} have "
            f"{dataset.preprocessing.channels}: leave --channels {channels} out."
        )
    shape = dataset.test.examples.element_spec[0].shape
    if dataset.decode is tf.identity and shape[-1] != wanted:
        raise InputError(
            f"Pictures must have the channels that the model takes, {wanted}; those of "
            f"{dataset.name} have {shape[-1]}: choose the data set with --dataset."
        )


def _find(name: str, data_dir: str | None) -> Path | Any | None:
    """A folder, a builder of TensorFlow Datasets, or none of both for the digits.

    # Raises
        InputError: if there is nothing of that name.
    """
    if name == _DIGITS:
        return None
    if name.startswith((".", "/")) or name.endswith("/") or "\\" in name:
        return Path(name)
    folder = Path(name)
    try:
        found = tfds.find(name, data_dir)
    except InputError:
        if not folder.is_dir():
            raise
        found = None
    if found is None and not folder.is_dir():
        raise tfds.unknown(name)
    return found or folder


def _shadowed(name: str, place: Path | Any | None) -> list[str]:
    """What to say where a folder has the name of a data set, but is not where that is kept."""
    folder = Path(name)
    if isinstance(place, Path) or not folder.is_dir():
        return []
    if place is not None and folder.resolve() in Path(place.data_dir).resolve().parents:
        return []
    known = "embedded" if place is None else "TensorFlow Datasets'"
    return [f"{name} is the {known} data set; write ./{name} for the folder of this name."]


def _digits(
    size: int, prepared: Preprocessing | None, augmentation: str | None, validation_share: float
) -> ImageDataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    train, test, train_labels, test_labels = train_test_split(
        images,
        digits.target,
        test_size=splits.TEST_SHARE,
        random_state=splits.TEST_SEED,
        stratify=digits.target,
    )
    # Drawn as ever, which leaves of all classes enough in every part.
    order = np.random.default_rng(0).permutation(len(train))
    held_out, kept = np.split(order, [round(len(order) * validation_share)])
    pre = prepared or Preprocessing(size, channels=1)
    return ImageDataset(
        _DIGITS,
        tuple(str(digit) for digit in digits.target_names),
        pre,
        shifts(pre, augmentation or CROPS),
        tf.identity,
        Split.of_arrays(train[kept], train_labels[kept]),
        Split.of_arrays(train[held_out], train_labels[held_out]),
        Split.of_arrays(test, test_labels),
        source=splits.digest([[image.tobytes() for image in train[order]]]),
    )
