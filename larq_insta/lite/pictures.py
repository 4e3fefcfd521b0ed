"""Pictures' files of whatever kind, as a viewer shows them."""

from __future__ import annotations

import io
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from larq_insta.lite.errors import InputError, first_line
from larq_insta.lite.remarks import without_remarks

_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")

_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_DEEP = ("I;16", "I;16B", "I")
"""Modes of 16 bits a pixel."""
_GREY_MODES = ("1", "L")
_LUMINANCE, _LUMINANCE_BITS = (9797, 19234, 3737), 15
"""Of red, green and blue (ITU-R BT.601), as libpng has them."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by its orientation in EXIF data."""
_GREYS = {"L;2": 0x55, "L;4": 0x11}
"""Of PNG files with fewer than 8 bits a pixel: what Pillow multiplies pixels by."""
_DEEP_COLOURS = "RGB;16B"

_WARNINGS = threading.Lock()
"""Filters of warnings are the whole process's, and data sets are read by many threads."""


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
        contents, orientation = without_remarks(path.read_bytes())
        with _opened(contents) as image:
            if channels == 1:
                image.draft("L", None)  # colour JPEG files have their grey apart
            _scale_transparency(image)
            image.load()
            turn = _TURNS.get(orientation)
            return _flat(image if turn is None else image.transpose(turn))
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
            f"({_reason(error)}): convert it or get it again."
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # which names an object of ours
        return "it begins as none of them"
    return first_line(error)


def _opened(contents: bytes) -> ImageFile:
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(contents), formats=_FORMATS)


def _scale_transparency(image: ImageFile) -> None:
    """Makes the value that a PNG file declares transparent one of Pillow's pixels."""
    value, kind = image.info.get("transparency"), image.tile[0][3] if image.tile else None
    if value is None:
        return
    if kind in _GREYS:
        image.info["transparency"] = value * _GREYS[kind] & 0xFF
    if kind == _DEEP_COLOURS:  # of which Pillow keeps the upper half
        image.info["transparency"] = tuple(colour >> 8 for colour in value)


def _flat(image: Image.Image) -> Image.Image:
    """Without transparency, and with 8 bits a channel."""
    if image.mode in _DEEP:
        # 65535 is white; Pillow would cut off all above 255.
        pixels = np.asarray(image).astype(np.float64)
        clear = pixels == image.info.get("transparency", -1)
        return Image.fromarray(np.where(clear, 255, (pixels / 257).round()).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image
