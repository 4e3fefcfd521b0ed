"""Labelled pictures: data sets by name or folder, in three parts, as batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from larq_insta.errors import InputError, first_line
from larq_insta.preprocessing import Augmentation, Preprocessing, photo_crops, shifts

_PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
_IN_MEMORY_BYTES = 2 << 30
_SHUFFLE_BUFFER = 10_000
_SPLIT_SEED = 0
_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_STD = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Split:
    """A part of a data set: uint8 pictures with their labels, one by one."""

    examples: tf.data.Dataset
    size: int


@dataclass(frozen=True)
class ImageDataset:
    """A labelled set of pictures in three parts; `validation` is held out of training."""

    name: str
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    augmentation: Augmentation
    train: Split
    validation: Split
    test: Split

    @property
    def input_shape(self) -> tuple[int, int, int]:
        size = self.preprocessing.size
        return size, size, self.preprocessing.channels

    def training_batches(self, batch_size: int, seed: int, epochs: int) -> tf.data.Dataset:
        """Shuffled, augmented batches of all epochs on end, without ragged batches.

        Epoch e depends on `seed` and e alone.
        """
        normalize = self.preprocessing.normalize

        def epoch(index: tf.Tensor) -> tf.data.Dataset:
            epoch_seed = seed * 2**20 + index  # so that no two seeds share an epoch
            # For this graph: the order shall not depend on the global seed.
            tf.compat.v1.set_random_seed(1)
            examples = self.train.examples.shuffle(
                min(self.train.size, _SHUFFLE_BUFFER),
                seed=epoch_seed,
                reshuffle_each_iteration=False,
            )

            def augment(i: tf.Tensor, example: tuple[tf.Tensor, tf.Tensor]) -> Any:
                image, label = example
                return self.augmentation(image, tf.stack([epoch_seed, i])), label

            examples = examples.enumerate().map(augment, num_parallel_calls=tf.data.AUTOTUNE)
            return examples.batch(batch_size, drop_remainder=True)

        batches = tf.data.Dataset.range(epochs).flat_map(epoch)
        return batches.map(lambda x, y: (normalize(x), y)).prefetch(tf.data.AUTOTUNE)

    def evaluation_batches(self, split: Split, batch_size: int = 100) -> tf.data.Dataset:
        """Batches of `split` in its order, each picture once."""
        pre = self.preprocessing
        examples = split.examples.map(
            lambda image, label: (pre.resize(image), label), num_parallel_calls=tf.data.AUTOTUNE
        )
        batches = examples.batch(batch_size).map(lambda x, y: (pre.normalize(x), y))
        return batches.prefetch(tf.data.AUTOTUNE)

    def test_pictures(self, count: int) -> np.ndarray:
        """The first `count` test pictures, normalized, `(pictures, height, width, channels)`."""
        batches = self.evaluation_batches(self.test).unbatch().take(count).batch(count)
        return next(iter(batches))[0].numpy()


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
    return _assemble(
        "digits",
        [str(digit) for digit in digits.target_names],
        pre,
        shifts(pre, 1, flip=False),
        (train, train_labels),
        (test, test_labels),
        validation_share,
    )


def _folder(root: Path, size: int, validation_share: float) -> ImageDataset:
    from sklearn.model_selection import train_test_split

    if not root.is_dir():
        raise InputError(f"A data set's folder must exist; got {str(root)!r}: check the path.")
    pre = Preprocessing(size=size, channels=3, crop=0.875, mean=_IMAGENET_MEAN, std=_IMAGENET_STD)
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
    augment = photo_crops(pre)
    return _assemble(str(root), names, pre, augment, train, test, validation_share, read=_read(pre))


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


def _read(pre: Preprocessing) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda path: pre.decode(tf.io.read_file(path))


def _tfds(
    name: str,
    image_size: int | None,
    data_dir: str | None,
    manual_dir: str | None,
    validation_share: float,
) -> ImageDataset:
    import tensorflow_datasets as tfds

    builder = _tfds_builder(name, data_dir)
    features = builder.info.features
    if not {"image", "label"} <= set(features):
        raise InputError(
            f"A data set must have images with one label each; {name} has "
            f"{', '.join(sorted(features))}: choose another."
        )
    try:
        config = tfds.download.DownloadConfig(manual_dir=manual_dir)
        builder.download_and_prepare(download_config=config)
    except Exception as error:
        raise InputError(
            f"The data set {name} could not be prepared ({first_line(error)}): check the "
            "network, or give its files with --manual-dir or a prepared copy with --data-dir."
        ) from error
    test = next((s for s in ("test", "validation") if s in builder.info.splits), None)
    if "train" not in builder.info.splits or test is None:
        raise InputError(
            f"A data set must have a train split and a test or validation split; {name} has "
            f"{', '.join(builder.info.splits)}: choose another."
        )
    held_out = round(builder.info.splits["train"].num_examples * validation_share)
    kept = f"train[:-{held_out}]" if held_out else "train"
    slices = [kept, f"train[-{held_out}:]" if held_out else "train[:0]", test]
    sizes = [builder.info.splits[s].num_examples if s != "train[:0]" else 0 for s in slices]
    *picture, channels = features["image"].shape
    pixels = np.prod(picture) * channels if None not in picture else np.inf
    names = tuple(features["label"].names)
    if pixels * sum(sizes) < _IN_MEMORY_BYTES:
        size = image_size or min(picture)
        pre = Preprocessing(size=size, channels=channels)
        parts = [
            _in_memory(builder, s) if n else _empty(pre) for s, n in zip(slices, sizes, strict=True)
        ]
        augment = shifts(pre, max(1, size // 8), flip=_may_flip(name))
    else:
        pre = Preprocessing(
            image_size or 224, 3, crop=0.875, mean=_IMAGENET_MEAN, std=_IMAGENET_STD
        )
        augment = photo_crops(pre)
        parts = [builder.as_dataset(split=s, as_supervised=True) for s in slices]
    splits = [Split(part, size) for part, size in zip(parts, sizes, strict=True)]
    return ImageDataset(name, names, pre, augment, *splits)


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


def _in_memory(builder: Any, split: str) -> tf.data.Dataset:
    whole = builder.as_dataset(split=split, as_supervised=True, batch_size=-1)
    return tf.data.Dataset.from_tensor_slices(whole)


def _may_flip(name: str) -> bool:
    # Characters change their meaning in a mirror; clothes, animals and things do not.
    return name.split("/", maxsplit=1)[0].split(":", maxsplit=1)[0] in {
        "cifar10",
        "cifar100",
        "fashion_mnist",
        "stl10",
    }


def _empty(pre: Preprocessing) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(
        (np.zeros((0, pre.size, pre.size, pre.channels), np.uint8), np.zeros(0, np.int64))
    )


def _assemble(
    name: str,
    class_names: Iterable[str],
    pre: Preprocessing,
    augmentation: Augmentation,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    validation_share: float,
    read: Callable[[tf.Tensor], tf.Tensor] = lambda image: image,
) -> ImageDataset:
    """A data set of arrays (of pictures, or of what `read` makes one from)."""
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(train[1]))
    held_out = round(len(order) * validation_share)
    parts = [
        (train[0][order[held_out:]], train[1][order[held_out:]]),
        (train[0][order[:held_out]], train[1][order[:held_out]]),
        test,
    ]

    def split(items: np.ndarray, labels: np.ndarray) -> Split:
        examples = tf.data.Dataset.from_tensor_slices((items, labels.astype(np.int64)))
        return Split(examples.map(lambda x, y: (read(x), y)), len(labels))

    return ImageDataset(
        name, tuple(class_names), pre, augmentation, *(split(*part) for part in parts)
    )
