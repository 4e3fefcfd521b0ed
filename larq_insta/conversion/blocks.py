"""Finds the numbers of a Keras model in a converted file, and compares them.

A file's tensors are told by their values, not by their names: the converter merges operators
and keeps any of their names. What every sign reads must be what some sign of the model reads,
and behind a sign the file goes on with Keras's signs: so a sign that rounding flips changes
nothing else, all numbers compare, and a file that passes computes what the model does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from larq_insta.conversion import signs
from larq_insta.conversion.engine import Interpreter
from larq_insta.conversion.folding import sign_scales
from larq_insta.conversion.report import TOLERANCE, Block
from larq_insta.conversion.signs import FileSign, Reading
from larq_insta_runtime import engine as litert
from larq_insta_runtime.graph import Graph, Tensor
from larq_insta_runtime.parts import severed

_SMALL_CHANNEL = 0.01
"""Of a map's largest number: what is below counts as so large, as sums of larger are rounded."""

_ROUNDINGS = 16
"""By how much more than a few other roundings of all numbers a file may differ from Keras: it adds
up in another order, and has other weights, as batch normalisations are merged. Found were 12."""

_LEAST_PROBABILITY = 1e-30


def compare_blocks(
    model: tf.keras.Model, lowered: tf.keras.Model, graph: Graph, images: np.ndarray
) -> Comparison:
    """Compares all blocks of a file, `graph`, with those of `model`; `lowered` is it, folded."""
    images = images.astype(np.float32)
    known = _Known(model, lowered, images)
    file_signs = signs.of_file(graph)
    matches = _matches(graph, images, known, file_signs)
    given = _given(matches)
    (answers,) = _run(graph, images, given, graph.outputs)
    blocks = [Block(match.layer, match.deviation) for match in matches.values()]
    blocks.append(Block(model.output_names[0], known.answers.deviation(answers)))
    alone = [
        _flips(matches, _run(graph, images, {}, [sign.read for sign in given], interpreter))
        for interpreter in (Interpreter, litert.Interpreter)
    ]
    return Comparison(
        tuple(blocks),
        _on_a_device(graph, images, matches, known.answers),
        sum(x.size for x in given.values()),
        alone[0][0],
        max(first for _, first in alone),
    )


def _on_a_device(
    graph: Graph, images: np.ndarray, matches: dict[FileSign, _Match], wanted: _Answers
) -> float:
    """Largest deviation of a block from Keras, all at once, as it is known what signs read."""
    given = _given(matches)
    outputs = [*(sign.read for sign in given), *graph.outputs]
    *read, answers = _run(graph, images, given, outputs, litert.Interpreter)
    deviations = [
        (sign.distances(x, values) / matches[sign].sizes).max()
        for (sign, values), x in zip(given.items(), read, strict=True)
    ]
    return float(max([*deviations, wanted.deviation(answers)]))


def _flips(matches: dict[FileSign, _Match], alone: list[np.ndarray]) -> tuple[int, float]:
    """How many signs differ where a file computes all by itself, and how far from zero the first.

    That is, of each picture the first sign of the file of which any number's differs, in parts
    of the largest number of its channel: nothing in front of them differs but by rounding.
    """
    count, first = 0, 0.0
    waiting: np.ndarray | bool = True  # of which pictures no sign has differed yet
    for (sign, values), numbers in zip(_given(matches).items(), alone, strict=True):
        flipped = sign.flipped(numbers, values)
        parts = np.where(flipped, np.abs(values) / matches[sign].sizes, 0)
        axes = tuple(range(1, flipped.ndim))
        first = max(first, float(np.where(waiting, parts.max(axes), 0).max()))
        waiting &= ~flipped.any(axes)
        count += int(flipped.sum())
    return count, first


def _matches(
    graph: Graph, images: np.ndarray, known: _Known, file_signs: Sequence[FileSign]
) -> dict[FileSign, _Match]:
    """What each sign of the file reads, behind Keras's signs."""
    matches: dict[FileSign, _Match] = {}
    while len(matches) < len(file_signs):
        first, *others = waiting = [sign for sign in file_signs if sign not in matches]
        numbers, *rest = _run(graph, images, _given(matches), [sign.read for sign in waiting])
        matches[first] = known.match(first, numbers, everywhere=True)
        for sign, numbers in zip(others, rest, strict=True):
            match = known.match(sign, numbers)
            if not match.deviation <= TOLERANCE:
                break  # perhaps for a flip in front of it: again, without any
            matches[sign] = match
    return matches


def _given(matches: dict[FileSign, _Match]) -> dict[FileSign, np.ndarray]:
    return {sign: x for sign, match in matches.items() if (x := match.values) is not None}


@dataclass(frozen=True)
class Comparison:
    """A file beside its model.

    # Attributes
        blocks: By Larq Compute Engine's interpreter.
        device_deviation: Largest deviation of a block by larq-insta-runtime.
        signs: In the network, of all pictures.
        flips: Those that differ when the file computes all by itself.
        first_flips: How far from zero the first of each picture lie, by either interpreter.
    """

    blocks: tuple[Block, ...]
    device_deviation: float
    signs: int
    flips: int
    first_flips: float


@dataclass(frozen=True)
class _Match:
    """What in Keras comes closest to what a sign of a file reads.

    # Attributes
        layer: The layer that reads or gives it.
        values: Its numbers; `None` if none are so many.
        sizes: Of each channel, by what differences are divided.
        deviation: The largest of these.
    """

    layer: str
    values: np.ndarray | None
    sizes: np.ndarray
    deviation: float


class _Known:
    """The numbers of a Keras model, and by what those of a file may differ from them."""

    def __init__(self, model: tf.keras.Model, lowered: tf.keras.Model, images: np.ndarray) -> None:
        self._signs, answers = signs.of_model(model, images)
        self._scales = [np.array(1, np.float32), *sign_scales(lowered)]
        self._count = len(images)
        self.answers = _Answers(model(images, training=False).numpy(), answers)

    def match(self, sign: FileSign, numbers: np.ndarray, everywhere: bool = False) -> _Match:
        """What a sign reads, of what signs read; or of what maxima are taken of.

        The converter moves signs across pooling, in front of which no sign of the model is.
        """
        size = self._count * int(np.prod(sign.shape))
        known = [reading for reading in self._signs if reading.values.size == size]
        match = self._nearest(sign, numbers, [r for r in known if not r.pooled])
        if everywhere and not match.deviation <= TOLERANCE:
            other = self._nearest(sign, numbers, [r for r in known if r.pooled])
            return other if other.deviation <= TOLERANCE else match
        return match

    def _nearest(self, sign: FileSign, numbers: np.ndarray, readings: list[Reading]) -> _Match:
        scaled = [
            replace(reading, values=reading.values * scale, noise=reading.noise * scale)
            for reading in readings
            for scale in self._scales
            if scale.shape in ((), reading.values.shape[-1:])
        ]
        if not scaled:
            return _Match(sign.made.layer, None, np.array(1.0), np.inf)
        best = min(scaled, key=lambda r: sign.distances(numbers, r.values).mean())
        sizes = _sizes(best.values, best.noise)
        deviation = (sign.distances(numbers, best.values) / sizes).max()
        return _Match(best.layer, best.values, sizes, float(deviation))


class _Answers:
    """Logarithms of probabilities, which are logits but for a constant."""

    def __init__(self, answers: np.ndarray, rounded: list[np.ndarray]) -> None:
        self._values = self._of(answers)
        noise = np.abs(self._of(np.array(rounded)) - self._values).max((0, 1))
        self._sizes = _sizes(self._values, noise)

    def deviation(self, found: np.ndarray) -> float:
        return float((np.abs(self._of(found) - self._values) / self._sizes).max())

    @staticmethod
    def _of(answers: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(answers, _LEAST_PROBABILITY))


def _run(
    graph: Graph,
    images: np.ndarray,
    given: dict[FileSign, np.ndarray],
    outputs: Sequence[Tensor],
    interpreter: type[Interpreter] | type[litert.Interpreter] = Interpreter,
) -> list[np.ndarray]:
    """Values of tensors, where signs hand on what they would of the numbers `given`."""
    reader = interpreter(severed(graph, [sign.made for sign in given], outputs))
    inputs = [images, *(sign.encoded(x) for sign, x in given.items())]
    answers = [reader.run([x[n : n + 1] for x in inputs]) for n in range(len(images))]
    return [np.concatenate(parts) for parts in zip(*answers, strict=True)]


def _sizes(values: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The largest number of each channel, or of what rounding alone changes as much."""
    sizes = np.abs(values).max(tuple(range(values.ndim - 1)))
    sizes = np.maximum(sizes, max(_SMALL_CHANNEL * sizes.max(), np.finfo(np.float32).tiny))
    return np.maximum(sizes, noise * (_ROUNDINGS / TOLERANCE))
