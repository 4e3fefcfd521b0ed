"""Data sets of labelled pictures, by name or folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from larq_insta.dataset import ImageDataset, Split
from larq_insta.errors import InputError, first_line
from larq_insta.preprocessing import (
    Preprocessing,
    photo_crops,
    photo_preprocessing,
    shifts,
)

_PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
_IN_MEMORY_BYTES = 2 << 30
_SPLIT_SEED = 0
_PHOTO_BUFFER = 10_000  # about a gigabyte, undecoded
_TEST_SPLITS = {"imagenet2012": ("validation",)}  # its test split has no labels


def load(
    name: str,
    *,
    image_size: int | None = None,
    data_dir: str | None = None,
    manual_dir: str | None = None,
    validation_share: float = 0.1,
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

    # Raises
        InputError: if there is no such data set or it cannot be read.
    """
    if not 0 <= validation_share < 1:
        raise InputError(
            f"The validation share must be at least 0 and below 1; got {validation_share}."
        )
    if image_size is not None and image_size < 8:
        raise InputError(f"The image size must be at least 8 pixels; got {image_size}.")
    if name == "digits":
        return _digits(image_size, validation_share)
    if "/" in name or "\\" in name or Path(name).is_dir():
        return _folder(Path(name), image_size or 224, validation_share)
    return _tfds(name, image_size, data_dir, manual_dir, validation_share)


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
        lambda image: image,
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
        lambda path: pre.decode(tf.io.read_file(path)),
        *_splits(train, test, validation_share),
    )


def _class_folders(root: Path) -> list[str]:
    names = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(names) < 2:
        raise InputError(
            f"A data set's folder must hold one folder for each class, two at least; got "
            f"{len(names)} in {root}."
        )
    return names


def _pictures(root: Path, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    found = [
        (str(path), label)
        for label, name in enumerate(names)
        for path in sorted((root / name).iterdir())
        if path.suffix.lower() in _PICTURES
    ]
    labels = np.array([label for _, label in found], np.int64)
    missing = sorted(set(range(len(names))) - set(labels.tolist()))
    if missing:
        raise InputError(
            f"Every class folder must hold pictures ({', '.join(_PICTURES)}); "
            f"{root / names[missing[0]]} holds none."
        )
    return np.array([path for path, _ in found]), labels


def _tfds(
    name: str,
    image_size: int | None,
    data_dir: str | None,
    manual_dir: str | None,
    validation_share: float,
) -> ImageDataset:
    builder = _tfds_builder(name, data_dir)
    features = builder.info.features
    _check_features(name, features)
    _prepare(builder, manual_dir)
    slices = _tfds_slices(builder.info.splits, name, validation_share)
    *picture, channels = features["image"].shape
    pixels = sum(slices.values()) * channels * np.prod([side or np.inf for side in picture])
    if pixels < _IN_MEMORY_BYTES:
        size = image_size or min(picture)
        pre = Preprocessing(size=size, channels=channels)
        augmentation, read = shifts(pre, max(1, size // 8), flip=_may_flip(name)), tf.identity
    else:
        pre = photo_preprocessing(image_size or 224, channels)
        augmentation, read = photo_crops(pre), pre.decode
    in_memory = read is tf.identity
    parts = [
        Split(
            _tfds_examples(builder, part, size, in_memory=in_memory),
            size,
            None if in_memory else _PHOTO_BUFFER,
        )
        for part, size in slices.items()
    ]
    return ImageDataset(name, tuple(features["label"].names), pre, augmentation, read, *parts)


def _check_features(name: str, features: Any) -> None:
    if not {"image", "label"} <= set(features):
        raise InputError(
            f"A data set must have images with one label each; {name} has "
            f"{', '.join(sorted(features))}: choose another."
        )
    dtype, channels = features["image"].dtype, features["image"].shape[-1]
    if dtype != np.uint8 or channels not in {1, 3}:
        raise InputError(
            f"Images must be uint8 with 1 or 3 channels; those of {name} are {dtype} with "
            f"{channels}: choose another data set."
        )


def _prepare(builder: Any, manual_dir: str | None) -> None:
    import tensorflow_datasets as tfds

    try:
        config = tfds.download.DownloadConfig(manual_dir=manual_dir)
        builder.download_and_prepare(download_config=config)
    except Exception as error:
        raise InputError(
            f"The data set {builder.name} could not be prepared ({first_line(error)}): check the "
            "network, or give its files with --manual-dir or a prepared copy with --data-dir."
        ) from error


def _tfds_slices(splits: Any, name: str, validation_share: float) -> dict[str, int]:
    """Names and sizes of the parts for training, validation and testing."""
    candidates = _TEST_SPLITS.get(_plain(name), ("test", "validation"))
    test = next((split for split in candidates if split in splits), None)
    if "train" not in splits or test is None:
        raise InputError(
            f"A data set must have a train split and a test or validation split; {name} has "
            f"{', '.join(splits)}: choose another."
        )
    total = splits["train"].num_examples
    kept = total - round(total * validation_share)
    return {
        f"train[:{kept}]": kept,
        f"train[{kept}:]": total - kept,
        test: splits[test].num_examples,
    }


def _tfds_examples(builder: Any, part: str, size: int, *, in_memory: bool) -> tf.data.Dataset:
    import tensorflow_datasets as tfds

    if size == 0:  # which TensorFlow Datasets refuses to read
        return _tfds_examples(builder, "train[:1]", 1, in_memory=in_memory).take(0)
    if in_memory:
        whole = builder.as_dataset(split=part, as_supervised=True, batch_size=-1)
        return tf.data.Dataset.from_tensor_slices(whole)
    undecoded = {"image": tfds.decode.SkipDecoding()}
    return builder.as_dataset(split=part, as_supervised=True, decoders=undecoded)


def _tfds_builder(name: str, data_dir: str | None) -> Any:
    import difflib

    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, tfds.core.registered.DatasetNotFoundError) as error:
        nearest = difflib.get_close_matches(name, ["digits", *tfds.list_builders()], n=1)
        hint = f" Did you mean {nearest[0]}?" if nearest else ""
        raise InputError(
            "A data set is 'digits', a name known to TensorFlow Datasets, or a folder; "
            f"got {name!r}.{hint}"
        ) from error
    except Exception as error:
        raise InputError(f"The data set {name!r} cannot be read: {first_line(error)}") from error


def _plain(name: str) -> str:
    """A data set's name without configuration and version."""
    return name.split("/", maxsplit=1)[0].split(":", maxsplit=1)[0]


def _may_flip(name: str) -> bool:
    # Characters change their meaning in a mirror; clothes, animals and things do not.
    return _plain(name) in {"cifar10", "cifar100", "fashion_mnist", "stl10"}


def _splits(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    validation_share: float,
) -> list[Split]:
    """Arrays of pictures or paths, and of labels, in three parts."""
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(train[1]))
    held_out = round(len(order) * validation_share)
    parts = [
        (train[0][order[held_out:]], train[1][order[held_out:]]),
        (train[0][order[:held_out]], train[1][order[:held_out]]),
        test,
    ]
    return [
        Split(tf.data.Dataset.from_tensor_slices((items, labels.astype(np.int64))), len(labels))
        for items, labels in parts
    ]
