"""What every sign reads: in a Keras model, and in a converted file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from larq_insta.conversion import builtin
from larq_insta.rewriting.flattening import walk
from larq_insta_runtime.graph import BINARY_CONVOLUTION, BINARY_INPUT, Graph, Operator, Tensor

_BITS = 32  # of signs in one number of the engine's


@dataclass(frozen=True)
class Reading:
    """Numbers whose signs a layer of a Keras model takes, or that it gives."""

    layer: str
    values: np.ndarray


def of_model(model: tf.keras.Model, images: np.ndarray) -> list[Reading]:
    """What all signs of Larq's kind read, in the order in which they run."""
    found: list[Reading] = []

    def call(node: Any, *args: Any, **kwargs: Any) -> Any:
        def sign(x: tf.Tensor) -> tf.Tensor:
            if len(x) == len(images):  # else it is a filter
                found.append(Reading(node.layer.name, x.numpy()))
            return original(x)

        with builtin.sign_replaced_by(sign) as original:
            return node.layer(*args, **kwargs)

    walk(model, _inputs(model, images), call)
    return found


def of_layers(model: tf.keras.Model, images: np.ndarray, size: int) -> list[Reading]:
    """What all layers give that is of so many numbers."""
    found: list[Reading] = []

    def call(node: Any, *args: Any, **kwargs: Any) -> Any:
        made = node.layer(*args, **kwargs)
        values = [y.numpy() for y in tf.nest.flatten(made) if tf.is_tensor(y)]
        found.extend(Reading(node.layer.name, y) for y in values if y.size == size)
        return made

    walk(model, _inputs(model, images), call)
    return found


def _inputs(model: tf.keras.Model, images: np.ndarray) -> list[tf.Tensor]:
    return [tf.cast(images, model.inputs[0].dtype)]


@dataclass(frozen=True)
class FileSign:
    """A sign in a file.

    # Attributes
        read: The numbers that it reads; where a binary convolution gives signs and nothing
            else, these.
        made: What it hands on.
        shape: `(height, width, channels)` of its signs, or what it has instead.
    """

    read: Tensor
    made: Tensor
    shape: tuple[int, ...]

    def encoded(self, values: np.ndarray) -> np.ndarray:
        """What it hands on of the numbers `(pictures, ...)` that it reads."""
        negative = (values < 0).reshape(-1, *self.shape)
        return _packed(negative) if _is_packed(self.made) else -negative.astype(np.float32)

    def flipped(self, found: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Where signs by what `read` has differ from those of numbers in Keras."""
        packed = _is_packed(self.read)
        negative = _unpacked(found, self.shape[-1]) if packed else found < 0
        return negative.reshape(values.shape) != (values < 0)

    def distances(self, found: np.ndarray, values: np.ndarray) -> np.ndarray:
        """How far that lies from these numbers; where it has signs alone, flipped ones of zero."""
        if _is_packed(self.read):
            return np.where(self.flipped(found, values), np.abs(values), 0)
        return np.abs(found.reshape(values.shape) - values)


def of_file(graph: Graph) -> list[FileSign]:
    """All signs, in the order in which they run."""
    return [sign for op in graph.operators if (sign := _sign(graph, op)) is not None]


def _sign(graph: Graph, operator: Operator) -> FileSign | None:
    read, made = operator.inputs[0], operator.outputs[0]
    if operator.name == BINARY_INPUT:
        return FileSign(read, made, read.shape[1:])
    if operator.name == BINARY_CONVOLUTION and _is_packed(made):
        return FileSign(made, made, (*made.shape[1:-1], operator.inputs[1].shape[0]))
    if builtin.begins_sign(graph, operator):
        return FileSign(read, made, read.shape[1:])
    return None


def _is_packed(tensor: Tensor) -> bool:
    return tensor.dtype == np.int32


def _packed(negative: np.ndarray) -> np.ndarray:
    missing = -negative.shape[-1] % _BITS
    filled = np.pad(negative, [(0, 0)] * (negative.ndim - 1) + [(0, missing)])
    return np.packbits(filled, axis=-1, bitorder="little").view(np.int32)


def _unpacked(numbers: np.ndarray, channels: int) -> np.ndarray:
    bits = np.unpackbits(numbers.view(np.uint8), axis=-1, bitorder="little")
    return bits[..., :channels].astype(bool)
