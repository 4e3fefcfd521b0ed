"""What every sign reads: in a Keras model, and in a converted file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import larq as lq
import numpy as np
import tensorflow as tf

from larq_insta.conversion import builtin
from larq_insta.layers import few_bits
from larq_insta.rewriting.flattening import walk
from larq_insta_runtime.graph import BINARY_CONVOLUTION, BINARY_INPUT, Graph, Operator, Tensor

_BITS = 32  # of signs in one number of the engine's
_STEP = 2.0**-23  # from 1 to the next number of float32
_TIMES = 5
"""Once exactly; one other rounding alone misses what each of many may come to by a factor of 30."""


@dataclass(frozen=True)
class Reading:
    """Numbers whose signs are taken.

    # Attributes
        layer: Of a Keras model, that takes them.
        values: The numbers.
        noise: By what those of each channel change if what layers give is rounded otherwise.
        pooled: Whether the largest ones are taken first, so that no sign of Keras reads these.
    """

    layer: str
    values: np.ndarray
    noise: np.ndarray
    pooled: bool = False


def of_model(model: tf.keras.Model, images: np.ndarray) -> tuple[list[Reading], list[np.ndarray]]:
    """What all signs of Larq's kind read, in the order in which they run; and the answers.

    Every layer is called several times, but for the first on numbers that are rounded otherwise,
    while all signs stay the same. The answers are those of all.
    """
    walked = _Walk(len(images))
    given = tf.cast(images, model.inputs[0].dtype)
    (answers,) = walk(model, [walked.rounded([given] * _TIMES)], walked.call)
    return walked.found, [y.numpy() for y in answers.values]


class _Several:
    """A tensor, and what it is after other roundings; not a list, which would be several inputs."""

    def __init__(self, values: list[tf.Tensor]) -> None:
        self.values = values


class _Walk:
    def __init__(self, count: int) -> None:
        self.found: list[Reading] = []
        self._count, self._rng = count, np.random.default_rng(0)

    def call(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        layer, made = node.layer, []
        read: list[list[tf.Tensor]] = [[] for _ in range(_TIMES)]
        pooled = isinstance(layer, tf.keras.layers.MaxPooling2D)
        for time in range(_TIMES):
            given, named = _chosen(time, (args, kwargs))
            made.append(self._called(layer, given, named, read[time], read[0]))
            if few_bits.levels(layer):
                read[time], made[time] = [few_bits.read(layer, given[0])], made[0]
            if pooled:
                read[time] = [given[0]]
        for x, *others in zip(*read, strict=True):
            noise = np.max([np.abs(x - y).reshape(-1, x.shape[-1]).max(0) for y in others], 0)
            self.found.append(Reading(layer.name, x.numpy(), noise, pooled))
        terms = _terms(layer)
        return tf.nest.map_structure(lambda *values: self.rounded([*values], terms), *made)

    def _called(
        self, layer: Any, args: Any, kwargs: Any, read: list[tf.Tensor], wanted: list[tf.Tensor]
    ) -> Any:
        """What a layer makes of its arguments, with signs of `wanted`; keeps what they `read`."""

        def sign(x: tf.Tensor) -> tf.Tensor:
            if len(x) != self._count or lq.context.should_quantize():
                return original(x)  # of a filter
            read.append(x)
            return original(wanted[len(read) - 1])

        with builtin.sign_replaced_by(sign) as original:
            return layer(*args, **kwargs)

    def rounded(self, values: list[tf.Tensor], terms: int = 1) -> _Several:
        """All but the first to one of the nearest numbers; sums to where their roundings lead."""
        exact, *others = values
        if not exact.dtype.is_floating:
            return _Several(values)
        step = _STEP * np.sqrt(terms)
        draws = (self._rng.uniform(-step, step, exact.shape) for _ in others)
        factors = [(1 + draw).astype(exact.dtype.as_numpy_dtype) for draw in draws]
        return _Several([exact, *(y * by for y, by in zip(others, factors, strict=True))])


def _chosen(time: int, given: Any) -> Any:
    return tf.nest.map_structure(lambda x: x.values[time] if isinstance(x, _Several) else x, given)


def _terms(layer: Any) -> int:
    """How many numbers a layer adds up one after the other."""
    if isinstance(layer, tf.keras.layers.GlobalAveragePooling2D):
        return int(np.prod(layer.input_shape[1:-1]))
    known = isinstance(layer, tf.keras.layers.AveragePooling2D)
    return int(np.prod(layer.pool_size)) if known else 1


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
