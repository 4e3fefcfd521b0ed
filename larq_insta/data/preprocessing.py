"""What a `Preprocessing` says, in TensorFlow's graphs; and random parts of large pictures."""

from __future__ import annotations

from dataclasses import replace

import tensorflow as tf

from larq_insta_runtime.preprocessing import Preprocessing

_IMAGENET_MEAN = (123.675, 116.28, 103.53)
_IMAGENET_STD = (58.395, 57.12, 57.375)

SMALL = 64
"""Pixels a side up to which models see small pictures, without a border to spare."""
_SMALLEST_CROP = 224 / (224 + 32)

_DCT = "INTEGER_ACCURATE"
"""As Pillow decodes JPEG files, so that a picture is the same in training and on a device."""


def decode(pre: Preprocessing, data: tf.Tensor) -> tf.Tensor:
    """Picture file contents to uint8 `(height, width, channels)`."""
    image = tf.cond(
        tf.io.is_jpeg(data),
        lambda: tf.io.decode_jpeg(data, channels=pre.channels, dct_method=_DCT),
        lambda: tf.io.decode_image(data, channels=pre.channels, expand_animations=False),
    )
    return tf.ensure_shape(image, (None, None, pre.channels))


def resize(pre: Preprocessing, image: tf.Tensor) -> tf.Tensor:
    """uint8 `(height, width, channels)` to uint8 `(size, size, channels)`."""
    if image.shape[:2] == (pre.size, pre.size) and pre.crop == 1.0:
        return image
    window = _centre(pre, tf.shape(image))
    return _scale(pre, tf.image.crop_to_bounding_box(image, *tf.unstack(window)))


def normalize(pre: Preprocessing, images: tf.Tensor) -> tf.Tensor:
    """uint8 `(..., channels)` to float32 of the same shape."""
    return (tf.cast(images, tf.float32) - list(pre.mean)) / list(pre.std)


def random_crop(pre: Preprocessing, data: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """A random part of a large picture's file, as ImageNet training takes it."""
    shape = _shape(pre, data)
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
    return _scale(pre, decode_part(pre, data, tf.where(found, part, _centre(pre, shape))))


def decode_part(pre: Preprocessing, data: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """The same as cropping the decoded picture, but JPEG files are read in part."""
    part = tf.cond(
        tf.io.is_jpeg(data),
        lambda: tf.image.decode_and_crop_jpeg(data, window, channels=pre.channels, dct_method=_DCT),
        lambda: tf.image.crop_to_bounding_box(decode(pre, data), *tf.unstack(window)),
    )
    return tf.ensure_shape(part, (None, None, pre.channels))


def _shape(pre: Preprocessing, data: tf.Tensor) -> tf.Tensor:
    return tf.cond(
        tf.io.is_jpeg(data),
        lambda: tf.image.extract_jpeg_shape(data),
        lambda: tf.shape(decode(pre, data)),
    )


def _centre(pre: Preprocessing, shape: tf.Tensor) -> tf.Tensor:
    """Top, left, height and width of the centre square."""
    side = tf.cast(tf.cast(tf.reduce_min(shape[:2]), tf.float32) * pre.crop, tf.int32)
    sides = tf.repeat(tf.maximum(side, 1), 2)
    return tf.concat([(shape[:2] - sides + 1) // 2, sides], 0)


def _scale(pre: Preprocessing, image: tf.Tensor) -> tf.Tensor:
    size = (pre.size, pre.size)
    if pre.resampling == "bicubic":
        image = tf.raw_ops.ResizeBicubic(images=image[None], size=size)[0]
    else:
        image = tf.image.resize(image, size, antialias=True)
    return tf.saturate_cast(tf.round(image), tf.uint8)


def photo_preprocessing(
    size: int, channels: int = 3, resampling: str = "bilinear"
) -> Preprocessing:
    """ImageNet's: the centre without a border of 16 in `size` + 32, mean and deviation of colours.

    Below 224 pixels the border is that share of the picture that it is there, an eighth: else
    half of a small picture would be border. With `"bicubic"` it is Larq Zoo's, but for values
    rounded to whole pixels' values, and files decoded exactly.
    """
    crop = max(_SMALLEST_CROP, size / (size + 32))
    if channels == 1:
        return Preprocessing(size, channels, crop, resampling=resampling)
    return Preprocessing(size, channels, crop, _IMAGENET_MEAN, _IMAGENET_STD, resampling)


def photo_view(size: int, channels: int = 3, resampling: str = "bilinear") -> Preprocessing:
    """What models of any size see of pictures in files, small ones the whole centre square."""
    pre = photo_preprocessing(size, channels, resampling)
    return replace(pre, crop=1.0) if size <= SMALL else pre


def kinds(preprocessing: Preprocessing, integers: bool = False) -> dict[str, Preprocessing]:
    """What models may take, by names: pictures as a data set normalizes them, or otherwise."""
    known = {
        "normalized": preprocessing,
        "symmetric": replace(preprocessing, mean=(127.5,), std=(127.5,)),
        "unit": replace(preprocessing, mean=(0.0,), std=(255.0,)),
        "pixels": replace(preprocessing, mean=(0.0,), std=(1.0,)),
    }
    return {"pixels": known["pixels"]} if integers else known
