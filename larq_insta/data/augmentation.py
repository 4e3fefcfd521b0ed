"""What is drawn at random of each training picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import tensorflow as tf

from larq_insta.data.preprocessing import SMALL, decode, random_crop, resize
from larq_insta.lite.errors import InputError
from larq_insta.lite.preprocessing import Preprocessing

NONE, CROPS, CROPS_AND_MIRROR = KINDS = ("none", "crops", "crops_and_mirror")

_MIRROR = 1
"""Of the draws that a picture's seed is for; the other are those of its part."""


@dataclass(frozen=True)
class Augmentation:
    """From contents (a picture or those of its file) and a seed of shape (2,) to a picture.

    `part` draws what is seen of the picture; of kind `"crops_and_mirror"` half of the
    pictures are mirrored then, by a draw of its own.
    """

    kind: str
    part: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

    def __call__(self, contents: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        picture = self.part(contents, seed)
        if self.kind != CROPS_AND_MIRROR:
            return picture
        # Not the same seed again: which parts are mirrored would depend on their forms.
        seed = tf.random.experimental.stateless_fold_in(seed, tf.constant(_MIRROR, tf.int64))
        return tf.image.stateless_random_flip_left_right(picture, seed)


def shifts(
    pre: Preprocessing,
    kind: str = CROPS_AND_MIRROR,
    decoded: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> Augmentation:
    """Of small pictures: shifts by up to an eighth. `decoded` makes pictures of contents."""
    pixels = max(1, pre.size // 8)
    shape = (pre.size, pre.size, pre.channels)

    def part(contents: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        picture = resize(pre, decoded(contents))
        if kind == NONE:
            return picture
        border = [[pixels, pixels], [pixels, pixels], [0, 0]]
        return tf.image.stateless_random_crop(tf.pad(picture, border), shape, seed)

    return Augmentation(_checked(kind), part)


def photo_crops(pre: Preprocessing, kind: str = CROPS_AND_MIRROR) -> Augmentation:
    """Of photographs' files: parts of them, as ImageNet training takes them."""

    def part(contents: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        if kind == NONE:
            return resize(pre, decode(pre, contents))
        return random_crop(pre, contents, seed)

    return Augmentation(_checked(kind), part)


def of_photographs(pre: Preprocessing, kind: str) -> Augmentation:
    """Of pictures in files; those of small models are seen whole, as a part is a few pixels."""
    if pre.size <= SMALL:
        return shifts(pre, kind, partial(decode, pre))
    return photo_crops(pre, kind)


def _checked(kind: str) -> str:
    if kind not in KINDS:
        raise InputError(f"An augmentation is one of {', '.join(KINDS)}; got {kind!r}.")
    return kind
