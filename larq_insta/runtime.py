"""Runs converted files, on this machine, with Larq Compute Engine's interpreter."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf
from larq_compute_engine.tflite.python.interpreter import Interpreter

from larq_insta import checkpoints, lite_files, pictures, pretrained
from larq_insta.card import Card
from larq_insta.errors import InputError, first_line
from larq_insta.flatbuffer import Graph
from larq_insta.lite_pool import LitePool
from larq_insta.preprocessing import Preprocessing


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

    def __init__(self, path: Path, processes: int = 0) -> None:
        content = read_content(path)
        card = Card.read(path)
        if card is None:
            raise InputError(
                f"{path} is cut off or was not written by larq_insta: use `larq-insta convert`."
            )
        graph = Graph(content)
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise InputError(
                f"A model must have one input and one output; {path} has {len(graph.inputs)} and "
                f"{len(graph.outputs)}: use `larq-insta convert`."
            )
        card.check_network(graph.inputs[0].shape, graph.outputs[0].shape, str(path))
        self.card = card
        self._shapes = graph.inputs[0].shape[1:], graph.outputs[0].shape[1:]
        self._interpreter: Interpreter | LitePool = (
            LitePool(content, processes) if processes else interpreter(content)
        )

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities `(images, classes)` for normalized images of `(images, h, w, c)`.

        # Raises
            InputError: if they are of another shape, or they or the answers not finite.
        """
        images = _checked(images, self._shapes[0])
        if not len(images):  # which the interpreter does not know
            return np.zeros((0, *self._shapes[1]), np.float32)
        return _finite(self._interpreter.predict(images))


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
        card.check_network(self.network.input_shape, self.network.output_shape, str(path))
        self.card = card

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities `(images, classes)` for normalized images of `(images, h, w, c)`.

        # Raises
            InputError: if they are of another shape, or they or the answers not finite.
        """
        images = _checked(images, self.network.input_shape[1:])
        if not len(images):  # on which TensorFlow's rewriting of graphs stumbles
            return np.zeros((0, *self.network.output_shape[1:]), np.float32)
        return _finite(self.network.predict_on_batch(images))


def _checked(images: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    images = np.asarray(images)
    if not np.can_cast(images.dtype, np.float64):
        raise InputError(f"Images must be numbers; got the type {images.dtype}.")
    if images.shape[1:] != shape or images.ndim != len(shape) + 1:
        raise InputError(
            f"Images must be of shape (images, {', '.join(map(str, shape))}); got {images.shape}: "
            "resize them as the model's card says."
        )
    images = images.astype(np.float32)
    finite = np.isfinite(images)
    if not finite.all():
        raise InputError(
            f"Images must be finite; got {images[~finite][0]}: normalize pixels from 0 to 255."
        )
    return images


def _finite(answers: np.ndarray) -> np.ndarray:
    finite = np.isfinite(answers)
    if not finite.all():
        raise InputError(
            f"A model's answers must be finite; got {answers[~finite][0]}: look at the training's "
            "log for a loss that grew."
        )
    return answers


def read_content(path: Path) -> bytes:
    """The content of a `.tflite` file.

    # Raises
        InputError: if it is missing, none, damaged, or needs operators that are not here.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from error
    lite_files.check(content, str(path))
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


def open_model(path: Path, processes: int = 0) -> LiteModel | KerasModel:
    """A model file of either kind, told by its name, or the package's trained model.

    # Arguments
        path: The file, or the trained model's name.
        processes: Of a `LiteModel`.

    # Raises
        InputError: if it cannot be used.
    """
    path = pretrained.find(path)
    if not path.exists():
        raise InputError(f"A model file must exist; got {str(path)!r}: check the path.")
    return LiteModel(path, processes) if path.suffix == ".tflite" else KerasModel(path)


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
