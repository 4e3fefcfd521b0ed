"""Contents of pictures' files, as data sets' graphs read them.

TensorFlow decodes plain JPEG files fast and in parallel, and of random crops the part that is
seen. All other files are Pillow's to decode, as it is for single pictures.
"""

from __future__ import annotations

import io
import os
import re
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from larq_insta.lite import pictures
from larq_insta.lite.remarks import JPEG_START, jpeg_parts, without_remarks

_JPEG_END = b"\xff\xd9"
_MARK = re.compile(rb"\xff[^\x00\xd0-\xd7]", re.DOTALL)
"""What is neither a number nor a restart: the end, if the pixels are one whole scan."""
_FRAMES = (0xC0, 0xC1)
"""Sequential ones in Huffman's code; versions of decoders smooth incomplete progressive ones
differently."""
_OTHERS = (0xC4, 0xDB, 0xDD, 0xE0)
"""Tables and JFIF's part; what Adobe's says of colours is understood in many ways."""


def fetch(path: tf.Tensor, channels: int) -> tf.Tensor:
    """Contents of a picture's file, for `preprocessing.decode`.

    They are those of an uncompressed file of the same picture, upright and flat, unless
    TensorFlow decodes the file to that anyway.
    """
    # Python's, as no graph walks through the parts of a file.
    contents = tf.numpy_function(
        partial(_contents, channels=channels), [path], tf.string, stateful=False
    )
    return tf.ensure_shape(contents, ())


def _contents(path: np.ndarray | bytes, channels: int) -> bytes:
    # TensorFlow gives an array when it runs without a graph.
    file = Path(os.fsdecode(np.asarray(path).item()))
    if file.is_file():
        contents, orientation = without_remarks(file.read_bytes())
        if orientation == 1 and _is_plain_jpeg(contents):
            return contents
    pixels = pictures.read(file, channels)
    image = Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels)
    plain = io.BytesIO()
    # BMP files are the fastest to write, but TensorFlow knows none in grey.
    image.save(plain, "BMP" if channels == 3 else "PNG", compress_level=0)
    return plain.getvalue()


def _is_plain_jpeg(contents: bytes) -> bool:
    """Whether TensorFlow makes of it what `pictures.read` does."""
    parts = list(jpeg_parts(contents)) if contents.startswith(JPEG_START) else []
    frames = [part for kind, part, _ in parts if kind in _FRAMES]
    if len(frames) != 1 or any(kind not in (*_FRAMES, *_OTHERS) for kind, _, _ in parts):
        return False
    mark = _MARK.search(contents, parts[-1][2] + 2)
    ends = mark is not None and mark[0] == _JPEG_END and mark.end() == len(contents)
    return ends and _is_plain_frame(frames[0])


def _is_plain_frame(frame: bytes) -> bool:
    bits, height, width, colours = frame[:1], frame[1:3], frame[3:5], frame[5:6]
    pixels = int.from_bytes(height, "big") * int.from_bytes(width, "big")
    few = 0 < pixels <= (Image.MAX_IMAGE_PIXELS or pixels)
    return few and bits == b"\x08" and colours in (b"\x01", b"\x03")
