"""How long a `.tflite` file takes on this machine, as a whole and operator by operator."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from larq_insta_runtime.engine import Interpreter
from larq_insta_runtime.graph import Graph, Operator
from larq_insta_runtime.parts import random_inputs, repeated

_WARM_UP = 5
_COPIES = 8


class Stopwatch:
    """Times one inference of a file's content with random input.

    # Arguments
        content: The file's content.
        num_threads: Threads of the interpreter.
    """

    def __init__(self, content: bytes, num_threads: int = 1) -> None:
        self._interpreter = Interpreter(content, num_threads)
        self._interpreter.give(random_inputs(content))
        for _ in range(_WARM_UP):
            self.seconds()

    def seconds(self) -> float:
        start = time.perf_counter()
        self._interpreter.invoke()
        return time.perf_counter() - start


@dataclass(frozen=True)
class OperatorTime:
    """Operators of one kind and shape: how many, and seconds of all of them."""

    name: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    count: int
    seconds: float
    traffic: int


def operator_table(times: list[OperatorTime]) -> str:
    """Markdown, with the sum below."""
    whole = sum(group.seconds for group in times)
    rows = [
        "| operator | input | output | count | ms | share | MB moved |",
        "|---|---|---|--:|--:|--:|--:|",
    ]
    for group in times:
        shapes = [
            "x".join(map(str, shape[1:])) or "-"
            for shape in (group.input_shape, group.output_shape)
        ]
        rows.append(
            f"| {group.name} | {shapes[0]} | {shapes[1]} | {group.count} | "
            f"{group.seconds * 1e3:.3f} | {group.seconds / whole:.1%} | {group.traffic / 1e6:.2f} |"
        )
    count, moved = sum(g.count for g in times), sum(g.traffic for g in times)
    rows.append(f"| sum | | | {count} | {whole * 1e3:.3f} | 100.0% | {moved / 1e6:.2f} |")
    return "\n".join(rows)


def operator_times(content: bytes, runs: int = 20, num_threads: int = 1) -> list[OperatorTime]:
    """Times of all operators, longest first.

    The interpreter cannot profile. So each operator is run alone, as one and as nine
    copies in a file, and the difference of the shortest times taken, which leaves out what
    calling the interpreter costs. In the whole network the caches hold less.
    """
    graph = Graph(content)
    groups: dict[tuple[object, ...], list[Operator]] = {}
    for operator in graph.operators:
        shapes = [t.shape for t in (*operator.inputs, *operator.outputs)]
        groups.setdefault((operator.name, *shapes), []).append(operator)
    times = [_time(graph, alike, runs, num_threads) for alike in groups.values()]
    return sorted(times, key=lambda group: -group.seconds)


def _time(graph: Graph, alike: list[Operator], runs: int, num_threads: int) -> OperatorTime:
    first = alike[0]
    seconds = 0.0
    if first.outputs[0].index not in graph.constant_operators:  # else it runs but once
        one, nine = (Stopwatch(repeated(graph, first, n), num_threads) for n in (1, 1 + _COPIES))
        pairs = [(one.seconds(), nine.seconds()) for _ in range(runs)]
        shortest = np.min(pairs, axis=0)
        seconds = max(0.0, float(shortest[1] - shortest[0]) / _COPIES)
    return OperatorTime(
        first.name,
        first.inputs[0].shape,
        first.outputs[0].shape,
        len(alike),
        seconds * len(alike),
        sum(operator.traffic for operator in alike),
    )
