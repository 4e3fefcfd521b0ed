"""Pictures' files of whatever kind, as a viewer shows them.

TensorFlow decodes plain ones fast and in parallel, but knows no orientations, transparency
and printers' inks; cameras' and browsers' files have them.
"""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from larq_insta.errors import InputError, first_line

_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")

_JPEG_HEAD = 65_536
"""Bytes in which a JPEG file says what it is."""

_MODES = {1: "L", 3: "RGB"}
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_DEEP = ("I;16", "I;16B", "I")
"""Modes of 16 bits a pixel."""


def read(path: Path, channels: int) -> np.ndarray:
    """The pixels of a picture as a viewer shows it.

    Turned as its EXIF data say, transparency on white, of an animation the first picture.

    # Arguments
        path: A JPEG, PNG, GIF, BMP or WebP file.
        channels: 1 for grey, 3 for RGB.

    # Returns
        uint8 array `(height, width, channels)`.

    # Raises
        InputError: if it is no such file, damaged, or too large.
    """
    pixels = np.asarray(_viewed(path).convert(_MODES[channels]))
    return pixels[..., None] if channels == 1 else pixels


def fetch(path: tf.Tensor) -> tf.Tensor:
    """Contents of a picture's file, in a data set's graph, for `tf.io.decode_image`.

    They are those of a PNG file of the same picture, upright and flat, unless TensorFlow
    decodes the file to that anyway.
    """
    contents = tf.io.read_file(path)
    return tf.cond(
        _is_plain(contents),
        lambda: contents,
        lambda: tf.numpy_function(_as_png, [path], tf.string, stateful=False),
    )


def _is_plain(contents: tf.Tensor) -> tf.Tensor:
    """A JPEG or PNG file without what TensorFlow does not know; told by its bytes."""
    head = tf.strings.substr(contents, 0, _JPEG_HEAD)
    strange_jpeg = tf.strings.regex_full_match(head, r"\C*(Exif|Adobe)\C*")
    plain_png = tf.strings.regex_full_match(contents, r"\CPNG\C{20}\x08[\x00\x02]\C*")
    strange_png = tf.strings.regex_full_match(contents, r"\C*(tRNS|eXIf)\C*")
    plain_jpeg = tf.io.is_jpeg(contents) & ~strange_jpeg
    return plain_jpeg | (plain_png & ~strange_png)


def _as_png(path: np.ndarray | bytes) -> bytes:
    # TensorFlow gives an array when it runs without a graph.
    image = _viewed(Path(os.fsdecode(np.asarray(path).item())))
    file = io.BytesIO()
    image.convert("L" if image.mode in ("1", "L") else "RGB").save(file, "PNG", compress_level=1)
    return file.getvalue()


def _viewed(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                return _flat(ImageOps.exif_transpose(image))
    except _BOMBS as error:
        raise InputError(
            f"A picture must have at most {Image.MAX_IMAGE_PIXELS:,} pixels; {path} has more: make "
            "it smaller."
        ) from error
    except FileNotFoundError as error:
        raise InputError(f"A picture must exist; got {str(path)!r}: check the path.") from error
    except IsADirectoryError as error:
        raise InputError(f"A picture must be a file; {path} is a folder.") from error
    except Exception as error:  # damaged files fail in any way
        kinds = f"{', '.join(_FORMATS[:-1])} or {_FORMATS[-1]}"
        raise InputError(
            f"A picture must be a whole {kinds} file; {path} is none or is damaged "
            f"({first_line(error)}): convert it or get it again."
        ) from error


def _flat(image: Image.Image) -> Image.Image:
    """Without transparency, and with 8 bits a channel."""
    if image.mode in _DEEP:
        # 65535 is white; Pillow would cut off all above 255.
        return Image.fromarray(
            (np.asarray(image).astype(np.float64) / 257).round().astype(np.uint8)
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image
