"""From picture files to what a model takes, in training and afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from larq_insta.errors import InputError

_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_STD = (58.395, 57.12, 57.375)

LARGEST_SIZE = 16_384
"""Pixels a side that a model may see."""
_SIZES = f"whole and from 1 to {LARGEST_SIZE}"

Augmentation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""From contents (a picture or those of its file) and a seed of shape (2,) to a training picture."""


@dataclass(frozen=True)
class Preprocessing:
    """From a picture of any size to what a model takes; goes with the model's files.

    The centre square of `crop` times the shorter side is resized to `size` pixels,
    coloured in `channels` (1 grey, 3 RGB), and normalized to `(pixel - mean) / std`.
    `resampling` is `"bilinear"`, antialiased, or `"bicubic"`, Larq Zoo's, which is not.
    """

    size: int
    channels: int
    crop: float = 1.0
    mean: tuple[float, ...] = (127.5,)
    std: tuple[float, ...] = (127.5,)
    resampling: str = "bilinear"

    def __post_init__(self) -> None:
        for name, (holds, rule) in self._rules().items():
            if not holds:
                raise InputError(
                    f"`{name}` of a preprocessing must be {rule}; got {getattr(self, name)!r}: use "
                    "the one of a trained model."
                )

    def _rules(self) -> dict[str, tuple[bool, str]]:
        """By field, whether it holds and what it says; cards come from strangers, too."""
        lengths = (1, self.channels)
        colours = f"finite numbers, one or {self.channels}"
        return {
            "size": (isinstance(self.size, int) and 1 <= self.size <= LARGEST_SIZE, _SIZES),
            "channels": (self.channels in (1, 3), "1 or 3"),
            "crop": (_are_numbers((self.crop,)) and 0 < self.crop <= 1, "in (0, 1]"),
            "mean": (_are_numbers(self.mean) and len(self.mean) in lengths, colours),
            "std": (
                _are_numbers(self.std) and len(self.std) in lengths and min(self.std) > 0,
                f"{colours}, above zero",
            ),
            "resampling": (self.resampling in ("bilinear", "bicubic"), "'bilinear' or 'bicubic'"),
        }

    def decode(self, data: tf.Tensor) -> tf.Tensor:
        """Picture file contents to uint8 `(height, width, channels)`."""
        image = tf.io.decode_image(data, channels=self.channels, expand_animations=False)
        return tf.ensure_shape(image, (None, None, self.channels))

    def resize(self, image: tf.Tensor) -> tf.Tensor:
        """uint8 `(height, width, channels)` to uint8 `(size, size, channels)`."""
        if image.shape[:2] == (self.size, self.size) and self.crop == 1.0:
            return image
        window = self._centre(tf.shape(image))
        return self._scale(tf.image.crop_to_bounding_box(image, *tf.unstack(window)))

    def random_crop(self, data: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """A random part of a large picture's file, as ImageNet training takes it."""
        shape = self._shape(data)
        begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
            shape,
            tf.zeros((1, 0, 4)),
            seed,
            min_object_covered=0.1,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        # No part was found if it is the whole; Larq Zoo takes the centre then.
        found = tf.reduce_any(extent[:2] < shape[:2])
        part = tf.concat([begin[:2], extent[:2]], 0)
        return self._scale(self._decode_part(data, tf.where(found, part, self._centre(shape))))

    def _shape(self, data: tf.Tensor) -> tf.Tensor:
        return tf.cond(
            tf.io.is_jpeg(data),
            lambda: tf.image.extract_jpeg_shape(data),
            lambda: tf.shape(self.decode(data)),
        )

    def _centre(self, shape: tf.Tensor) -> tf.Tensor:
        """Top, left, height and width of the centre square."""
        side = tf.cast(tf.cast(tf.reduce_min(shape[:2]), tf.float32) * self.crop, tf.int32)
        sides = tf.repeat(tf.maximum(side, 1), 2)
        return tf.concat([(shape[:2] - sides + 1) // 2, sides], 0)

    def _decode_part(self, data: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
        """The same as cropping the decoded picture, but JPEG files are read in part."""
        part = tf.cond(
            tf.io.is_jpeg(data),
            lambda: tf.image.decode_and_crop_jpeg(data, window, channels=self.channels),
            lambda: tf.image.crop_to_bounding_box(self.decode(data), *tf.unstack(window)),
        )
        return tf.ensure_shape(part, (None, None, self.channels))

    def _scale(self, image: tf.Tensor) -> tf.Tensor:
        size = (self.size, self.size)
        if self.resampling == "bicubic":
            image = tf.raw_ops.ResizeBicubic(images=image[None], size=size)[0]
        else:
            image = tf.image.resize(image, size, antialias=True)
        return tf.saturate_cast(tf.round(image), tf.uint8)

    def normalize(self, images: tf.Tensor) -> tf.Tensor:
        """uint8 `(..., channels)` to float32 of the same shape."""
        return (tf.cast(images, tf.float32) - list(self.mean)) / list(self.std)


def _are_numbers(values: object) -> bool:
    return isinstance(values, tuple) and all(
        isinstance(value, float | int) and math.isfinite(value) for value in values
    )


def photo_preprocessing(
    size: int, channels: int = 3, resampling: str = "bilinear"
) -> Preprocessing:
    """ImageNet's: the centre without a border of 16 in `size` + 32, mean and deviation of colours.

    With `"bicubic"` it is Larq Zoo's, but for values rounded to whole pixels' values.
    """
    crop = size / (size + 32)
    if channels == 1:
        return Preprocessing(size, channels, crop, resampling=resampling)
    return Preprocessing(size, channels, crop, _IMAGENET_MEAN, _IMAGENET_STD, resampling)


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

    def augment(data: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return tf.image.stateless_random_flip_left_right(pre.random_crop(data, seed), seed)

    return augment
