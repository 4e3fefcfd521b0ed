"""A data set in three parts, as batches for training and evaluation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from larq_insta.data import preprocessing
from larq_insta.data.augmentation import Augmentation
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.naming import labels_by_name
from larq_insta_runtime.preprocessing import Preprocessing

PHOTO_BUFFER = 10_000  # undecoded photographs that shuffling holds: about a gigabyte

_UNREADABLE = (
    tf.errors.InvalidArgumentError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
)


@dataclass(frozen=True)
class Split:
    """A part of a data set: what is fetched as a picture, and its label, one by one.

    `buffer` is how many of them shuffling may hold in memory; all by default. `in_order`,
    where files hold many examples, gives them with the files in the order of a seed.
    """

    examples: tf.data.Dataset
    size: int
    buffer: int | None = None
    in_order: Callable[[tf.Tensor], tf.data.Dataset] | None = None

    @classmethod
    def of_arrays(cls, items: np.ndarray, labels: np.ndarray) -> Split:
        pairs = (items, labels.astype(np.int64))
        return cls(tf.data.Dataset.from_tensor_slices(pairs), len(labels))

    def shuffled(self, seed: tf.Tensor) -> tf.data.Dataset:
        examples = self.in_order(seed) if self.in_order else self.examples
        buffer = min(self.size, self.buffer or self.size)
        return examples.shuffle(buffer, seed=seed, reshuffle_each_iteration=False)


@dataclass(frozen=True)
class ImageDataset:
    """A labelled set of pictures in three parts; `validation` is held out of training.

    `fetch` makes contents of what the parts hold: a path's file is read, all else is contents,
    a picture or those of its file. `decode` makes a uint8 picture `(height, width, channels)`
    of contents. Both are called after shuffling. `uncached` has the same without a cache.
    `source` names what the parts hold, in their order; another text, other pictures. `notes`
    are lines that a user should read: what was chosen, what was left out.
    """

    name: str
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    augmentation: Augmentation
    decode: Callable[[tf.Tensor], tf.Tensor]
    train: Split
    validation: Split
    test: Split
    fetch: Callable[[tf.Tensor], tf.Tensor] = tf.identity
    uncached: ImageDataset | None = None
    source: str = ""
    notes: tuple[str, ...] = ()

    @property
    def input_shape(self) -> tuple[int, int, int]:
        size = self.preprocessing.size
        return size, size, self.preprocessing.channels

    def labelled_as(self, class_names: Sequence[str]) -> ImageDataset:
        """The same pictures, their labels those of a model that knows all classes, by name.

        # Raises
            InputError: if the model does not know one of them.
        """
        if tuple(class_names) == self.class_names:
            return self
        table = tf.constant(labels_by_name(self.class_names, class_names, self.name), tf.int64)

        def relabelled(split: Split) -> Split:
            examples = split.examples.map(lambda item, label: (item, tf.gather(table, label)))
            return Split(examples, split.size, split.buffer)

        return replace(
            self,
            class_names=tuple(class_names),
            train=relabelled(self.train),
            validation=relabelled(self.validation),
            test=relabelled(self.test),
        )

    def training_batches(
        self, batch_size: int, seed: int, epochs: range, *, shards: int = 1, shard: int = 0
    ) -> tf.data.Dataset:
        """Shuffled, augmented batches of uint8 pictures and their labels, epoch after epoch.

        Epoch e depends on `seed` and e alone. Of n shards, each with batches of its own
        size, shard i gets every n-th picture from the i-th on: together their s-th batches
        are the s-th batch of a single one of n times the size. What fills no batch of all
        shards is left out.
        """

        def epoch(index: tf.Tensor) -> tf.data.Dataset:
            epoch_seed = seed * 2**20 + index  # so that no two seeds share an epoch
            # For this graph: the order shall not depend on the global seed.
            tf.compat.v1.set_random_seed(1)
            examples = self.train.shuffled(epoch_seed).enumerate()
            examples = examples.take(self.train.size // (shards * batch_size) * shards * batch_size)

            def augment(i: tf.Tensor, example: tuple[tf.Tensor, tf.Tensor]) -> Any:
                contents, label = self.fetch(example[0]), example[1]
                return self.augmentation(contents, tf.stack([epoch_seed, i])), label

            examples = examples.shard(shards, shard)
            return examples.map(augment, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)

        batches = tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(epoch)
        return batches.prefetch(tf.data.AUTOTUNE)

    def pictures(self, split: Split, batch_size: int = 100) -> tf.data.Dataset:
        """Batches of uint8 pictures and labels of `split` in its order, each picture once."""
        examples = split.examples.map(
            lambda item, label: (self._resized(self.decode(self.fetch(item))), label),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return examples.batch(batch_size).prefetch(tf.data.AUTOTUNE)

    def evaluation_batches(self, split: Split, batch_size: int = 100) -> tf.data.Dataset:
        """The same, normalized."""
        return self.pictures(split, batch_size).map(lambda x, y: (self.normalize(x), y))

    def normalize(self, pictures: tf.Tensor) -> tf.Tensor:
        """uint8 pictures as models take them."""
        return preprocessing.normalize(self.preprocessing, pictures)

    def _resized(self, picture: tf.Tensor) -> tf.Tensor:
        return preprocessing.resize(self.preprocessing, picture)

    @contextmanager
    def naming_unreadable(self) -> Iterator[None]:
        """While pictures are read, names the one that cannot be.

        # Raises
            InputError: if a picture's file is damaged or gone.
        """
        try:
            yield
        except _UNREADABLE as error:
            culprit = self._first_unreadable()
            if culprit is None:
                raise
            raise InputError(
                "Every picture must be there, as a whole JPEG, PNG, GIF, BMP or WebP file; "
                f"{culprit} is not: restore, repair or remove it."
            ) from error

    def _first_unreadable(self) -> str | None:
        source = self.uncached or self
        for split in (source.train, source.validation, source.test):
            for item, _ in split.examples:
                try:
                    source.decode(source.fetch(item))
                except (InputError, *_UNREADABLE):  # what reads files here says it itself
                    is_path = source.fetch is not tf.identity
                    return os.fsdecode(item.numpy()) if is_path else f"one of {self.name}"
        return None

    def training_pictures(self, count: int) -> np.ndarray:
        """`count` training pictures in uint8, not augmented, of all classes as they come.

        # Raises
            InputError: if that is none.
        """
        if count < 1:
            raise InputError(f"Pictures to look at must be at least 1; got {count}: give more.")
        chosen = Split(self.train.shuffled(0).take(count), count, self.train.buffer)
        with self.naming_unreadable():
            return np.concatenate([images.numpy() for images, _ in self.pictures(chosen)])

    def test_pictures(self, count: int, normalized: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """The first `count` test pictures, normalized or in uint8, and their classes.

        # Returns
            Arrays of shape `(pictures, height, width, channels)` and `(pictures,)`.
        """
        batched = self.evaluation_batches if normalized else self.pictures
        batches = batched(self.test).unbatch().take(count).batch(count)
        with self.naming_unreadable():
            images, labels = next(iter(batches))
        return images.numpy(), labels.numpy()
