"""Finds the numbers of a Keras model in a converted file, and compares them.

A file's tensors are told by their values, not by their names: the converter merges operators
and keeps any of their names. What every sign reads must be what some sign of the model reads,
and behind a sign the file goes on with Keras's signs: so a sign that rounding flips changes
nothing else, all numbers compare, and a file that passes computes what the model does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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

_LEAST_PROBABILITY = 1e-30


def compare_blocks(
    model: tf.keras.Model, lowered: tf.keras.Model, graph: Graph, images: np.ndarray
) -> Comparison:
    """Compares all blocks of a file, `graph`, with those of `model`; `lowered` is it, folded."""
    images = images.astype(np.float32)
    known = _Known(model, lowered, images)
    file_signs = signs.of_file(graph)
    alone = _run(graph, images, {}, [sign.read for sign in file_signs])
    matches = _matches(graph, images, known, file_signs)
    blocks = [Block(match.layer, match.deviation) for match in matches.values()]
    given = _given(matches)
    (answers,) = _run(graph, images, given, graph.outputs)
    wanted = model(images, training=False).numpy()
    blocks.append(Block(model.output_names[0], _difference_of_answers(answers, wanted)))
    pairs = zip(file_signs, alone, strict=True)
    flipped = [sign.flipped(x, given[sign]) for sign, x in pairs if sign in given]
    return Comparison(
        tuple(blocks),
        _on_a_device(graph, images, matches, wanted),
        sum(x.size for x in flipped),
        sum(int(x.sum()) for x in flipped),
    )


def _on_a_device(
    graph: Graph, images: np.ndarray, matches: dict[FileSign, _Match], wanted: np.ndarray
) -> float:
    """Largest deviation of a block from Keras, all at once, as it is known what signs read."""
    given = _given(matches)
    outputs = [*(sign.read for sign in given), *graph.outputs]
    *read, answers = _run(graph, images, given, outputs, litert.Interpreter)
    deviations = [
        _relative(sign.distances(x, values), values)
        for (sign, values), x in zip(given.items(), read, strict=True)
    ]
    return max([*deviations, _difference_of_answers(answers, wanted)])


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
    """

    blocks: tuple[Block, ...]
    device_deviation: float
    signs: int
    flips: int


@dataclass(frozen=True)
class _Match:
    """What in Keras comes closest to what a sign of a file reads.

    # Attributes
        layer: The layer that reads or gives it.
        values: Its numbers; `None` if none are so many.
        deviation: Largest difference, relative to the largest number of its channel.
    """

    layer: str
    values: np.ndarray | None
    deviation: float


class _Known:
    """The numbers of a Keras model, and by what those of a file may differ from them."""

    def __init__(self, model: tf.keras.Model, lowered: tf.keras.Model, images: np.ndarray) -> None:
        self._model, self._images = model, images
        self._signs = signs.of_model(model, images)
        self._scales = [np.array(1, np.float32), *sign_scales(lowered)]

    def match(self, sign: FileSign, numbers: np.ndarray, everywhere: bool = False) -> _Match:
        """What a sign reads, of what signs read; or of what any layer gives.

        The converter moves signs across pooling, in front of which no sign of the model is.
        """
        size = len(self._images) * int(np.prod(sign.shape))
        match = self._nearest(sign, numbers, [r for r in self._signs if r.values.size == size])
        if everywhere and not match.deviation <= TOLERANCE:
            other = self._nearest(sign, numbers, signs.of_layers(self._model, self._images, size))
            return other if other.deviation <= TOLERANCE else match
        return match

    def _nearest(self, sign: FileSign, numbers: np.ndarray, readings: list[Reading]) -> _Match:
        scaled = [
            Reading(reading.layer, reading.values * scale)
            for reading in readings
            for scale in self._scales
            if scale.shape in ((), reading.values.shape[-1:])
        ]
        if not scaled:
            return _Match(sign.made.layer, None, np.inf)
        best = min(scaled, key=lambda r: sign.distances(numbers, r.values).mean())
        distances = sign.distances(numbers, best.values)
        return _Match(best.layer, best.values, _relative(distances, best.values))


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


def _relative(distances: np.ndarray, values: np.ndarray) -> float:
    """Largest distance over the largest number of its channel; not finite if one is not."""
    axes = tuple(range(values.ndim - 1))
    sizes = np.abs(values).max(axes)
    sizes = np.maximum(sizes, max(_SMALL_CHANNEL * sizes.max(), np.finfo(np.float32).tiny))
    return float((distances.max(axes) / sizes).max())


def _difference_of_answers(found: np.ndarray, wanted: np.ndarray) -> float:
    """The same of probabilities' logarithms, which are logits but for a constant."""
    found, wanted = (np.log(np.maximum(x, _LEAST_PROBABILITY)) for x in (found, wanted))
    return _relative(np.abs(found - wanted), wanted)
