"""Pictures' files of whatever kind, as a viewer shows them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from larq_insta.lite.errors import InputError, first_line

_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")

_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_DEEP = ("I;16", "I;16B", "I")
"""Modes of 16 bits a pixel."""
_GREY_MODES = ("1", "L")
_LUMINANCE, _LUMINANCE_BITS = (9797, 19234, 3737), 15
"""Of red, green and blue (ITU-R BT.601), as libpng has them, and TensorFlow by it."""


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
    image = _viewed(path, channels)
    if channels == 3:
        return np.asarray(image.convert("RGB"))
    if image.mode in _GREY_MODES:
        return np.asarray(image.convert("L"))[..., None]
    weighted = np.asarray(image.convert("RGB")) @ np.array(_LUMINANCE)
    return (weighted >> _LUMINANCE_BITS).astype(np.uint8)[..., None]


def _viewed(path: Path, channels: int) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                if channels == 1:
                    image.draft("L", None)  # colour JPEG files have their grey apart
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
