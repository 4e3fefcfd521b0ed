"""Contents of pictures' files, as data sets' graphs read them.

TensorFlow decodes plain files fast and in parallel, but knows no orientations, transparency
and printers' inks; cameras' and browsers' files have them.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from larq_insta.lite import pictures

_JPEG_HEAD = 65_536
"""Bytes in which a JPEG file says what it is."""


def fetch(path: tf.Tensor) -> tf.Tensor:
    """Contents of a picture's file, for `preprocessing.decode`.

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
    pixels = pictures.read(Path(os.fsdecode(np.asarray(path).item())), channels=3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
