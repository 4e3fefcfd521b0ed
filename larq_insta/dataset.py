"""A data set in three parts, as batches for training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from larq_insta.errors import InputError
from larq_insta.preprocessing import Augmentation, Preprocessing

_SHUFFLE_BUFFER = 10_000


@dataclass(frozen=True)
class Split:
    """A part of a data set: what is read as a picture, and its label, one by one."""

    examples: tf.data.Dataset
    size: int


@dataclass(frozen=True)
class ImageDataset:
    """A labelled set of pictures in three parts; `validation` is held out of training.

    `read` makes a uint8 picture `(height, width, channels)` of what the parts hold, be it a
    picture, a path or a file's contents; it is called after shuffling.
    """

    name: str
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    augmentation: Augmentation
    read: Callable[[tf.Tensor], tf.Tensor]
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
                picture, label = example
                return self.augmentation(self.read(picture), tf.stack([epoch_seed, i])), label

            examples = examples.enumerate().map(augment, num_parallel_calls=tf.data.AUTOTUNE)
            return examples.batch(batch_size, drop_remainder=True)

        batches = tf.data.Dataset.range(epochs).flat_map(epoch)
        return batches.map(lambda x, y: (normalize(x), y)).prefetch(tf.data.AUTOTUNE)

    def evaluation_batches(self, split: Split, batch_size: int = 100) -> tf.data.Dataset:
        """Batches of `split` in its order, each picture once."""
        pre = self.preprocessing
        examples = split.examples.map(
            lambda picture, label: (pre.resize(self.read(picture)), label),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        batches = examples.batch(batch_size).map(lambda x, y: (pre.normalize(x), y))
        return batches.prefetch(tf.data.AUTOTUNE)

    @contextmanager
    def naming_unreadable(self) -> Iterator[None]:
        """While pictures are read, names the one that cannot be.

        # Raises
            InputError: if a picture's file is damaged.
        """
        try:
            yield
        except tf.errors.InvalidArgumentError as error:
            culprit = self._first_unreadable()
            if culprit is None:
                raise
            raise InputError(
                f"Every picture must be a whole JPEG, PNG, GIF or BMP file; {culprit} is not: "
                "repair or remove it."
            ) from error

    def _first_unreadable(self) -> str | None:
        for split in (self.train, self.validation, self.test):
            for picture, _ in split.examples:
                try:
                    self.read(picture)
                except tf.errors.InvalidArgumentError:
                    path = picture.numpy().decode(errors="replace")
                    return path if Path(path).is_file() else f"one of {self.name}"
        return None

    def test_pictures(self, count: int) -> np.ndarray:
        """The first `count` test pictures, normalized, `(pictures, height, width, channels)`."""
        batches = self.evaluation_batches(self.test).unbatch().take(count).batch(count)
        with self.naming_unreadable():
            return next(iter(batches))[0].numpy()
