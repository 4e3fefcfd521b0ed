"""Runs converted files on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from larq_insta_runtime import checks, packaged
from larq_insta_runtime.card import Card
from larq_insta_runtime.engine import Interpreter
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.graph import Graph
from larq_insta_runtime.pool import LitePool
from larq_insta_runtime.preprocessing import Preprocessing

_ROUNDING = 1e-3
"""Of probabilities' sums."""


class Classifier(Protocol):
    """A network with its card; `LiteModel` is one, and so is a checkpoint."""

    card: Card

    def predict(self, images: np.ndarray) -> np.ndarray: ...

    def close(self) -> None: ...


class LiteModel:
    """A `.tflite` file that larq_insta has written.

    # Arguments
        path: The file.
        processes: How many processes of its own the interpreter gets, so that they use
            several cores and may crash; 0 for none. Scripts that want any must guard their
            start with `if __name__ == "__main__":`.

    # Raises
        InputError: if the file is missing, damaged, or not written by larq_insta.
    """

    def __init__(self, path: str | Path, processes: int = 0) -> None:
        path = Path(path)
        content, graph = _read(path)
        card = Card.read(path)
        if card is None:
            raise InputError(
                f"{path} is cut off or was not written by larq_insta: use `larq-insta convert`."
            )
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise InputError(
                f"A model must have one input and one output; {path} has {len(graph.inputs)} and "
                f"{len(graph.outputs)}: use `larq-insta convert`."
            )
        card.check_network(graph.inputs[0].shape, graph.outputs[0].shape, str(path))
        if graph.inputs[0].dtype not in (np.float32, np.uint8):
            raise InputError(
                f"A model must take float32, or pixels in uint8; {path} takes "
                f"{graph.inputs[0].dtype}: use `larq-insta convert`."
            )
        self.card = card
        self._takes_pixels = graph.inputs[0].dtype == np.uint8
        self._shapes = graph.inputs[0].shape[1:], graph.outputs[0].shape[1:]
        self._interpreter: Any = LitePool(content, processes) if processes else Interpreter(content)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities `(images, classes)` for images of `(images, h, w, c)`.

        They are normalized, or pixels in uint8, whatever the file takes: one becomes the other
        as the card says.

        # Raises
            InputError: if they are of another shape, or they or the answers not finite.
        """
        images = checked_images(images, self._shapes[0], self.card.preprocessing)
        if self._takes_pixels:
            images = self.card.preprocessing.pixels(images)
        if not len(images):  # which the interpreter does not know
            return np.zeros((0, *self._shapes[1]), np.float32)
        return checked_answers(self._interpreter.predict(images))

    def close(self) -> None:
        """Ends its processes, if it has any; it cannot predict any more."""
        if isinstance(self._interpreter, LitePool):
            self._interpreter.close()


def open_file(path: Path, processes: int = 0) -> LiteModel:
    """A converted file, or the package's trained model by its name; see `LiteModel`.

    # Raises
        InputError: if it cannot be used.
    """
    path = packaged.find(path)
    if not path.exists():
        raise InputError(f"A model file must exist; got {str(path)!r}: check the path.")
    if path.suffix != ".tflite":
        raise InputError(
            f"A model file must be called *.tflite; got {str(path)!r}: convert it with "
            "`larq-insta convert`."
        )
    return LiteModel(path, processes)


def checked_images(
    images: np.ndarray, shape: tuple[int, ...], preprocessing: Preprocessing
) -> np.ndarray:
    """Images as float32, normalized if they are of uint8.

    # Raises
        InputError: if they are not finite numbers, each of this shape.
    """
    images = np.asarray(images)
    if not np.can_cast(images.dtype, np.float64):
        raise InputError(f"Images must be numbers; got the type {images.dtype}.")
    if images.shape[1:] != shape or images.ndim != len(shape) + 1:
        raise InputError(
            f"Images must be of shape (images, {', '.join(map(str, shape))}); got {images.shape}: "
            "resize them as the model's card says."
        )
    if images.dtype == np.uint8:
        return preprocessing.normalize(images)
    images = images.astype(np.float32)
    finite = np.isfinite(images)
    if not finite.all():
        raise InputError(
            f"Images must be finite; got {images[~finite][0]}: normalize pixels from 0 to 255."
        )
    return images


def checked_answers(answers: np.ndarray) -> np.ndarray:
    """The same answers.

    # Raises
        InputError: if they are not finite.
    """
    finite = np.isfinite(answers)
    if not finite.all():
        raise InputError(
            f"A model's answers must be finite; got {answers[~finite][0]}: look at the training's "
            "log for a loss that grew."
        )
    return answers


def are_probabilities(answers: np.ndarray) -> bool:
    """Whether numbers `(..., classes)` are from 0 to 1, and 1 in sum but for rounding."""
    return bool((answers >= 0).all() and (np.abs(answers.sum(-1) - 1) < _ROUNDING).all())


def read_content(path: Path) -> bytes:
    """The content of a `.tflite` file.

    # Raises
        InputError: if it is missing, none, damaged, or needs operators that are not here.
    """
    content, _ = _read(path)
    return content


def _read(path: Path) -> tuple[bytes, Graph]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from error
    return content, checks.check(content, str(path))


def accuracy(model: Classifier, batches: Iterable[tuple[Any, Any]]) -> tuple[float, int]:
    """Top-1 accuracy (0 to 1) and number of pictures, of batches of images and classes."""
    hits = [
        np.argmax(model.predict(np.asarray(images)), axis=-1) == np.asarray(labels)
        for images, labels in batches
    ]
    right = np.concatenate(hits)
    return float(right.mean()), len(right)


def answer(model: Classifier, image: np.ndarray, top: int = 3) -> str:
    """The `top` most probable classes of a normalized image `(h, w, c)`, in words.

    # Raises
        InputError: if the model does not answer with probabilities.
    """
    probabilities = model.predict(image[None])[0]
    if not are_probabilities(probabilities):
        raise InputError(
            "A model's answers must be probabilities, from 0 to 1 and 1 in sum; got numbers from "
            f"{probabilities.min():.3g} to {probabilities.max():.3g}: convert the model again with "
            "tf.keras.layers.Softmax() at its end."
        )
    best = probabilities.argsort()[::-1][:top]
    return ", ".join(f"{model.card.class_names[i]} {probabilities[i]:.1%}" for i in best)
