"""From picture files to what a model takes, in training and afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_STD = (58.395, 57.12, 57.375)

Augmentation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""From a uint8 picture and a seed of shape (2,) to the picture that the model sees."""


@dataclass(frozen=True)
class Preprocessing:
    """From a picture of any size to what a model takes; goes with the model's files.

    The centre square of `crop` times the shorter side is resized to `size` pixels,
    coloured in `channels` (1 grey, 3 RGB), and normalized to `(pixel - mean) / std`.
    """

    size: int
    channels: int
    crop: float = 1.0
    mean: tuple[float, ...] = (127.5,)
    std: tuple[float, ...] = (127.5,)

    def decode(self, data: tf.Tensor) -> tf.Tensor:
        """Picture file contents to uint8 `(height, width, channels)`."""
        image = tf.io.decode_image(data, channels=self.channels, expand_animations=False)
        return tf.ensure_shape(image, (None, None, self.channels))

    def resize(self, image: tf.Tensor) -> tf.Tensor:
        """uint8 `(height, width, channels)` to uint8 `(size, size, channels)`."""
        if image.shape[:2] == (self.size, self.size) and self.crop == 1.0:
            return image
        height, width = tf.unstack(tf.shape(image)[:2])
        side = tf.cast(tf.minimum(height, width), tf.float32) * self.crop
        side = tf.maximum(tf.cast(tf.round(side), tf.int32), 1)
        image = tf.image.crop_to_bounding_box(
            image, (height - side) // 2, (width - side) // 2, side, side
        )
        return self._scale(image)

    def random_crop(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """A random part of a large picture, as ImageNet training takes it."""
        begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
            tf.shape(image),
            tf.zeros((1, 0, 4)),
            seed,
            min_object_covered=0.1,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        part = tf.slice(image, begin, extent)
        return self._scale(tf.ensure_shape(part, (None, None, self.channels)))

    def _scale(self, image: tf.Tensor) -> tf.Tensor:
        image = tf.image.resize(image, (self.size, self.size), antialias=True)
        return tf.saturate_cast(tf.round(image), tf.uint8)

    def normalize(self, images: tf.Tensor) -> tf.Tensor:
        """uint8 `(..., channels)` to float32 of the same shape."""
        return (tf.cast(images, tf.float32) - list(self.mean)) / list(self.std)


def photo_preprocessing(size: int, channels: int = 3) -> Preprocessing:
    """ImageNet's: the centre 7/8 of a photograph, mean and deviation of its colours."""
    if channels == 1:
        return Preprocessing(size, channels, crop=0.875)
    return Preprocessing(size, channels, 0.875, _IMAGENET_MEAN, _IMAGENET_STD)


def shifts(pre: Preprocessing, pixels: int, flip: bool) -> Augmentation:
    """Random shifts of small pictures by up to `pixels`, and mirroring."""

    def augment(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        image = pre.resize(image)
        border = [[pixels, pixels], [pixels, pixels], [0, 0]]
        image = tf.image.stateless_random_crop(tf.pad(image, border), pre_shape, seed)
        return tf.image.stateless_random_flip_left_right(image, seed) if flip else image

    pre_shape = (pre.size, pre.size, pre.channels)
    return augment


def photo_crops(pre: Preprocessing) -> Augmentation:
    """A random part of the picture, mirrored or not."""

    def augment(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return tf.image.stateless_random_flip_left_right(pre.random_crop(image, seed), seed)

    return augment
