"""Watches of interpreters, which take turns."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from larq_compute_engine.tflite.python.interpreter import Interpreter

from larq_insta_runtime.parts import random_inputs

_WARM_UP = 5


class Watch(Protocol):
    """Times one inference; larq-insta-runtime's `Stopwatch` is one."""

    def seconds(self) -> float: ...


class LarqStopwatch:
    """Times Larq Compute Engine's interpreter with XNNPACK as `Stopwatch` times ours.

    With one thread by its indirect kernels, which know but one.
    """

    def __init__(self, content: bytes, num_threads: int = 1) -> None:
        (self._images,) = random_inputs(content)
        self._interpreter = Interpreter(
            content, num_threads, use_indirect_bgemm=num_threads == 1, use_xnnpack=True
        )
        for _ in range(_WARM_UP):
            self.seconds()

    def seconds(self) -> float:
        start = time.perf_counter()
        self._interpreter.predict(self._images)
        return time.perf_counter() - start


def take_turns(watches: Mapping[str, Watch], turns: int) -> dict[str, np.ndarray]:
    """Seconds of each turn, which are in another order each time."""
    seconds: dict[str, list[float]] = {name: [] for name in watches}
    order = np.random.default_rng(0)
    for _ in range(turns):
        for name in order.permutation(list(watches)):
            seconds[name].append(watches[name].seconds())
    return {name: np.array(values) for name, values in seconds.items()}
