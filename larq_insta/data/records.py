"""Undecoded pictures in files of TensorFlow Datasets, which hold many each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from larq_insta.data.dataset import PHOTO_BUFFER, Split

_FILES_AT_ONCE = 16

Reading = Callable[[tf.Tensor | None], tf.data.Dataset]
"""Reads pictures and labels, the files in their order or in that of a seed."""


Place: TypeAlias = "str | np.ndarray | None"
"""A part in TensorFlow Datasets' words, such as `"train[:90]"`, or places in `"train"`."""


def split_of(builder: Any, keys: tuple[str, str], place: Place) -> Split:
    """Undecoded pictures, of no place none."""
    files, wanted, size = [], None, 0
    if place is not None and len(place):
        part = builder.info.splits[place if isinstance(place, str) else "train"]
        files, size = part.file_instructions, part.num_examples
    if isinstance(place, np.ndarray):
        wanted, size = np.isin(np.arange(size), place), len(place)
    reading = reader(builder, files if size else [], keys, wanted)
    return Split(reading(None), size, PHOTO_BUFFER, reading)


def labels(builder: Any, keys: tuple[str, str], part: str) -> np.ndarray:
    """Of a whole part, which is read through for them."""
    reading = reader(builder, builder.info.splits[part].file_instructions, keys, at_once=1)
    return np.array([label for _, label in reading(None).as_numpy_iterator()], np.int64)


def reader(
    builder: Any,
    files: list[Any],
    keys: tuple[str, str] = ("image", "label"),
    wanted: np.ndarray | None = None,
    at_once: int = _FILES_AT_ONCE,
) -> Reading:
    """Reads parts of files, of these the wanted examples.

    # Arguments
        builder: Of the data set.
        files: TensorFlow Datasets' instructions, each of a file and a span of it.
        keys: Names of picture and label.
        wanted: Whether to take each of all examples; all by default.
        at_once: Files that examples are taken from by turns.
    """
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import file_adapters

    adapter = file_adapters.ADAPTER_FOR_FORMAT[builder.info.file_format]
    names = np.array([file.filename for file in files], dtype=object if not files else None)
    spans = np.array([(file.skip, file.take) for file in files], np.int64).reshape(-1, 2)
    firsts = np.cumsum(spans[:, 1]) - spans[:, 1]
    picture, label = keys

    def examples(file: tf.Tensor, span: tf.Tensor, first: tf.Tensor) -> tf.data.Dataset:
        records = adapter.make_tf_data(file).skip(span[0]).take(span[1])
        if wanted is None:
            return records
        chosen = records.enumerate(first).filter(lambda place, _: tf.gather(wanted, place))
        return chosen.map(lambda _, record: record)

    def example(record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        undecoded = {picture: tfds.decode.SkipDecoding()}
        features = builder.info.features.deserialize_example(record, decoders=undecoded)
        return features[picture], features[label]

    def read(seed: tf.Tensor | None) -> tf.data.Dataset:
        order = tf.range(len(files))
        if seed is not None:
            order = tf.random.experimental.stateless_shuffle(order, [seed, 0])
        columns = (tf.constant(names, tf.string), tf.constant(spans), tf.constant(firsts))
        records = tf.data.Dataset.from_tensor_slices(
            tuple(tf.gather(column, order) for column in columns)
        ).interleave(
            examples,
            cycle_length=at_once,
            block_length=_FILES_AT_ONCE,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        return records.map(example, num_parallel_calls=tf.data.AUTOTUNE)

    return read
