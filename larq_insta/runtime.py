"""Runs converted files, on this machine, with Larq Compute Engine's interpreter."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf
from larq_compute_engine.tflite.python.interpreter import Interpreter

from larq_insta import checkpoints, pictures
from larq_insta.card import Card
from larq_insta.errors import InputError, first_line
from larq_insta.flatbuffer import foreign_operators
from larq_insta.preprocessing import Preprocessing

_IDENTIFIER = b"TFL3"


class LiteModel:
    """A `.tflite` file that larq_insta has written.

    # Arguments
        path: The file.
        num_threads: Threads of the interpreter.

    # Raises
        InputError: if the file is missing, damaged, or not written by larq_insta.
    """

    def __init__(self, path: Path, num_threads: int = 1) -> None:
        content = read_content(path)
        card = Card.read(path)
        if card is None:
            raise InputError(
                f"{path} is cut off or was not written by larq_insta: use `larq-insta convert`."
            )
        self.card = card
        self._interpreter = interpreter(content, num_threads)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities `(images, classes)` for normalized images of `(images, h, w, c)`."""
        return self._interpreter.predict(np.asarray(images, np.float32))


class KerasModel:
    """A checkpoint behind the same interface as `LiteModel`.

    # Raises
        InputError: if the file is missing, damaged, or not written by larq_insta.
    """

    def __init__(self, path: Path) -> None:
        self.network = checkpoints.load(path)
        card = Card.read(path)
        if card is None:
            raise InputError(
                f"{path} carries no class names and preprocessing: use a checkpoint that "
                "`larq-insta train` wrote."
            )
        self.card = card

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities `(images, classes)` for normalized images of `(images, h, w, c)`."""
        return self.network.predict_on_batch(np.asarray(images, np.float32))


def read_content(path: Path) -> bytes:
    """The content of a `.tflite` file.

    # Raises
        InputError: if it is missing, none, damaged, or needs operators that are not here.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from error
    if content[4:8] != _IDENTIFIER:
        raise InputError(
            f"A converted model must be a TFLite file; {path} is none: use `larq-insta convert`."
        )
    try:
        foreign = foreign_operators(content)
    except Exception as error:
        raise InputError(
            f"A converted model must be whole; {path} is damaged ({first_line(error)}): copy or "
            "convert it again."
        ) from error
    if foreign:
        raise InputError(
            f"Every operator must be TFLite's or Larq Compute Engine's; {path} has "
            f"{', '.join(foreign)}: convert it with the installed versions."
        )
    return content


def interpreter(content: bytes, num_threads: int = 1, xnnpack: bool = False) -> Interpreter:
    """Larq Compute Engine's interpreter, with its fastest kernels on x86.

    # Raises
        InputError: if it cannot load the model.
    """
    try:
        return Interpreter(
            content,
            num_threads=num_threads,
            use_indirect_bgemm=num_threads == 1,
            use_xnnpack=xnnpack,
        )
    except RuntimeError as error:
        raise InputError(
            f"Larq Compute Engine's interpreter cannot load the model: {first_line(error)}"
        ) from error


def open_model(path: Path) -> LiteModel | KerasModel:
    """A model file of either kind, told by its name.

    # Raises
        InputError: if it cannot be used.
    """
    if not path.exists():
        raise InputError(f"A model file must exist; got {str(path)!r}: check the path.")
    return LiteModel(path) if path.suffix == ".tflite" else KerasModel(path)


def accuracy(
    model: LiteModel | KerasModel, batches: Iterable[tuple[tf.Tensor, tf.Tensor]]
) -> tuple[float, int]:
    """Top-1 accuracy (0 to 1) and number of pictures."""
    hits = [
        np.argmax(model.predict(images.numpy()), axis=-1) == labels.numpy()
        for images, labels in batches
    ]
    right = np.concatenate(hits)
    return float(right.mean()), len(right)


def answer(model: LiteModel | KerasModel, image: np.ndarray, top: int = 3) -> str:
    """The `top` most probable classes of a normalized image `(h, w, c)`, in words."""
    probabilities = model.predict(image[None])[0]
    best = probabilities.argsort()[::-1][:top]
    return ", ".join(f"{model.card.class_names[i]} {probabilities[i]:.1%}" for i in best)


def read_picture(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """A picture file as a normalized image `(h, w, c)`; for kinds of files see `pictures.read`.

    # Raises
        InputError: if it is no picture.
    """
    pixels = pictures.read(path, preprocessing.channels)
    return preprocessing.normalize(preprocessing.resize(tf.constant(pixels))).numpy()
