"""Classification sets of TensorFlow Datasets."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from larq_insta.data.dataset import PHOTO_BUFFER, ImageDataset, Split
from larq_insta.data.preprocessing import decode, photo_crops, photo_preprocessing, shifts
from larq_insta.lite.errors import InputError, first_line
from larq_insta.lite.preprocessing import Preprocessing

_IN_MEMORY_BYTES = 2 << 30
_TEST_SPLITS = {"imagenet2012": ("validation",)}  # its test split has no labels
_FILES_AT_ONCE = 16


def load(
    name: str,
    image_size: int | None,
    data_dir: str | None,
    manual_dir: str | None,
    validation_share: float,
) -> ImageDataset:
    """See `data.load`. Small pictures are kept in memory, photographs read from their files."""
    builder = _builder(name, data_dir)
    features = builder.info.features
    _check_features(name, features)
    _prepare(builder, manual_dir)
    slices = _slices(builder.info.splits, name, validation_share)
    *picture, channels = features["image"].shape
    pixels = sum(slices.values()) * channels * np.prod([side or np.inf for side in picture])
    classes = tuple(features["label"].names)
    if pixels < _IN_MEMORY_BYTES:
        size = image_size or min(picture)
        pre = Preprocessing(size=size, channels=channels)
        augmentation = shifts(pre, max(1, size // 8), flip=_may_flip(name))
        train, validation, test = (
            Split(_in_memory(builder, part), size) for part, size in slices.items()
        )
        return ImageDataset(name, classes, pre, augmentation, tf.identity, train, validation, test)
    pre = photo_preprocessing(image_size or 224, channels, "bicubic")
    train, validation, test = (_in_files(builder, part, size) for part, size in slices.items())
    augmentation = photo_crops(pre)
    return ImageDataset(
        name, classes, pre, augmentation, partial(decode, pre), train, validation, test
    )


def class_names(name: str) -> tuple[str, ...]:
    """Of a data set that need not be here."""
    return tuple(_builder(name, None).info.features["label"].names)


def contents(name: str, data_dir: str | None, validation_share: float) -> str:
    """Names what is read of a data set, for a cache."""
    return f"{_builder(name, data_dir).info.full_name} {validation_share}"


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


def _slices(splits: Any, name: str, validation_share: float) -> dict[str, int]:
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


def _in_memory(builder: Any, part: str) -> tf.data.Dataset:
    if part.startswith("train[") and builder.info.splits[part].num_examples == 0:
        # Which TensorFlow Datasets refuses to read.
        return _in_memory(builder, "train[:1]").take(0)
    whole = builder.as_dataset(split=part, as_supervised=True, batch_size=-1)
    return tf.data.Dataset.from_tensor_slices(whole)


def _in_files(builder: Any, part: str, size: int) -> Split:
    """Undecoded pictures."""
    files = builder.info.splits[part].file_instructions if size else []
    in_order = _reader(builder, files)
    return Split(in_order(None), size, PHOTO_BUFFER, in_order)


def _reader(builder: Any, files: list[Any]) -> Callable[[tf.Tensor | None], tf.data.Dataset]:
    """Reads parts of files, in their order or in that of a seed."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import file_adapters

    adapter = file_adapters.ADAPTER_FOR_FORMAT[builder.info.file_format]
    names = np.array([file.filename for file in files], dtype=object if not files else None)
    spans = np.array([(file.skip, file.take) for file in files], np.int64).reshape(-1, 2)
    undecoded = {"image": tfds.decode.SkipDecoding()}

    def example(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = builder.info.features.deserialize_example(record, decoders=undecoded)
        return features["image"], features["label"]

    def read(seed: tf.Tensor | None) -> tf.data.Dataset:
        order = tf.range(len(files))
        if seed is not None:
            order = tf.random.experimental.stateless_shuffle(order, [seed, 0])
        parts = (tf.gather(tf.constant(names, tf.string), order), tf.gather(spans, order))
        records = tf.data.Dataset.from_tensor_slices(parts).interleave(
            lambda file, span: adapter.make_tf_data(file).skip(span[0]).take(span[1]),
            cycle_length=_FILES_AT_ONCE,
            block_length=_FILES_AT_ONCE,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        return records.map(example, num_parallel_calls=tf.data.AUTOTUNE)

    return read


def _builder(name: str, data_dir: str | None) -> Any:
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
