"""From a picture of any size to what a model takes, by Pillow and NumPy.

`larq_insta.data.preprocessing` does the same in TensorFlow's graphs, for training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from larq_insta_runtime import pictures
from larq_insta_runtime.errors import InputError

LARGEST_SIZE = 16_384
"""Pixels a side that a model may see."""
_SIZES = f"whole and from 1 to {LARGEST_SIZE}"

_CUBIC = -0.75
"""Slope of the cubic kernel at distance 1, as OpenCV and TensorFlow have it."""
_CUBIC_PLACES = 1024
"""Between two pixels, to which TensorFlow rounds where it looks up the kernel."""


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

    def read(self, path: str | Path) -> np.ndarray:
        """A picture's file as a normalized image `(size, size, channels)`; see `pictures.read`.

        # Raises
            InputError: if it is no picture.
        """
        return self.normalize(self.resize(pictures.read(Path(path), self.channels)))

    def resize(self, image: np.ndarray) -> np.ndarray:
        """uint8 `(height, width, channels)` to uint8 `(size, size, channels)`."""
        if image.shape[:2] == (self.size, self.size) and self.crop == 1.0:
            return image
        square = self._centre(image).astype(np.float32)
        scale = _bicubic if self.resampling == "bicubic" else _bilinear
        return np.clip(np.rint(scale(square, self.size)), 0, 255).astype(np.uint8)

    def normalize(self, images: np.ndarray) -> np.ndarray:
        """uint8 `(..., channels)` to float32 of the same shape."""
        return (images.astype(np.float32) - _floats(self.mean)) / _floats(self.std)

    def pixels(self, images: np.ndarray) -> np.ndarray:
        """The uint8 pixels of which `normalize` made float32 images."""
        numbers = images * _floats(self.std) + _floats(self.mean)
        return np.clip(np.rint(numbers), 0, 255).astype(np.uint8)

    def _centre(self, image: np.ndarray) -> np.ndarray:
        height, width, _ = image.shape
        side = max(1, int(np.float32(min(height, width)) * np.float32(self.crop)))
        top, left = (height - side + 1) // 2, (width - side + 1) // 2
        return image[top : top + side, left : left + side]


def _floats(numbers: tuple[float, ...]) -> np.ndarray:
    return np.array(numbers, np.float32)


def _are_numbers(values: object) -> bool:
    return isinstance(values, tuple) and all(
        isinstance(value, int | float) and math.isfinite(value) for value in values
    )


def _bilinear(image: np.ndarray, size: int) -> np.ndarray:
    """Antialiased, as `tf.image.resize` is on request: a triangle as wide as a new pixel."""
    colours = [
        Image.fromarray(np.ascontiguousarray(colour)).resize(
            (size, size), Image.Resampling.BILINEAR
        )
        for colour in np.moveaxis(image, -1, 0)
    ]
    return np.stack([np.asarray(colour) for colour in colours], -1)


def _bicubic(image: np.ndarray, size: int) -> np.ndarray:
    """As `tf.raw_ops.ResizeBicubic`: four pixels each way, however much smaller it gets."""
    rows = _cubic_rows(image, size)
    return _cubic_rows(rows.swapaxes(0, 1), size).swapaxes(0, 1)


def _cubic_rows(image: np.ndarray, size: int) -> np.ndarray:
    """`size` rows of `(height, width, channels)`."""
    places = np.arange(size, dtype=np.float32) * (np.float32(len(image)) / np.float32(size))
    first = np.floor(places)
    offsets = np.rint((places - first) * _CUBIC_PLACES) / _CUBIC_PLACES
    result = np.zeros((size, *image.shape[1:]), np.float32)
    for tap in (-1, 0, 1, 2):
        rows = np.clip(first.astype(int) + tap, 0, len(image) - 1)
        weights = _cubic_kernel(np.abs(tap - offsets)).astype(np.float32)
        result += weights[:, None, None] * image[rows]
    return result


def _cubic_kernel(x: np.ndarray) -> np.ndarray:
    """Of distances from 0 to 2."""
    a = _CUBIC
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, far)
