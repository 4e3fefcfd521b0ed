"""The interpreter in processes of its own: one a core, and free to crash.

They start in a fraction of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from larq_insta_runtime.engine import Interpreter
from larq_insta_runtime.errors import InputError, first_line
from larq_insta_runtime.parts import random_inputs
from larq_insta_runtime.silence import silent

PATIENCE = 600
"""Seconds that a picture may take; the slowest of boards need one or two."""

_peaks: list[int | None] = []
_given: list[Any] = []  # to a process of a pool: content, threads


class _Pool:
    """Processes that have the content of a `.tflite` file."""

    def __init__(self, content: bytes, processes: int, threads: int = 1) -> None:
        self._processes = processes
        self._pool = ProcessPoolExecutor(
            processes,
            mp_context=get_context("spawn"),
            initializer=_keep,
            initargs=(content, threads),
        )

    def close(self) -> None:
        """Ends the processes; left to Python, its end may meet with theirs (in Python 3.13)."""
        self._pool.shutdown()

    def _run(self, function: Callable[[Any], Any], parts: list[Any]) -> list[Any]:
        try:
            return list(self._pool.map(function, parts))
        except BrokenProcessPool as error:
            raise InputError(
                "The interpreter must survive the model; it crashed, or took longer than "
                f"{PATIENCE} seconds for a picture, so the file is damaged: convert it again."
            ) from error
        except InputError:
            raise
        except (RuntimeError, ValueError) as error:
            raise InputError(f"LiteRT cannot run the model: {first_line(error)}") from error


class LitePool(_Pool):
    """Predicts in `processes` processes of one thread each."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The output `(images, ...)` for `images`.

        # Raises
            InputError: if the interpreter refuses the content or crashes on it.
        """
        parts = np.array_split(images, max(1, min(self._processes, len(images))))
        return np.concatenate(self._run(_predict, parts))


class TimedProcess(_Pool):
    """A process that times inferences of random input."""

    def __init__(self, content: bytes, threads: int) -> None:
        super().__init__(content, 1, threads)

    def first(self) -> float:
        """Seconds of loading the file and its first inference; to be asked first."""
        return self._run(_time_first, [None])[0]

    def once(self) -> float:
        """Seconds of one inference, behind another, as its caches are cold when its turn comes."""
        return self._run(_time, [None])[0]

    def memory(self) -> int | None:
        """Bytes that the process has needed besides Python and its libraries, at most.

        `None` where the system does not tell.
        """
        return self._run(_memory, [None])[0]

    def saved_bytes(self) -> int:
        """See `Interpreter`."""
        return self._run(_saved_bytes, [None])[0]


def _keep(content: bytes, threads: int) -> None:
    _given[:] = [content, threads]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its processes itself
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot end its processes, and they would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _predict(images: np.ndarray) -> np.ndarray:
    return np.concatenate([_run_once([image[None]])[0] for image in images])


def _run_once(inputs: list[np.ndarray]) -> list[np.ndarray]:
    with _patience():
        return _interpreter().run(inputs)


@cache
def _interpreter() -> Interpreter:
    with silent():  # LiteRT tells of every interpreter
        return Interpreter(*_given)


@cache
def _inputs() -> list[np.ndarray]:
    return random_inputs(_given[0])


def _time_first(_: None) -> float:
    inputs = _inputs()
    _peaks.append(_peak())
    start = time.perf_counter()
    _run_once(inputs)
    return time.perf_counter() - start


def _time(_: None) -> float:
    _run_once(_inputs())
    start = time.perf_counter()
    _run_once(_inputs())
    return time.perf_counter() - start


def _memory(_: None) -> int | None:
    before, after = _peaks[0], _peak()
    return None if before is None or after is None else after - before


def _saved_bytes(_: None) -> int:
    return _interpreter().saved_bytes


def _peak() -> int | None:
    """Bytes that this process had at most; `None` where the system does not tell.

    What `resource` tells of a process includes its parent, before it began.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    return int(found[1]) * 1024 if found else None


@contextmanager
def _patience() -> Iterator[None]:
    """Ends the process if it takes too long; where systems have such a clock."""
    alarm = getattr(signal, "alarm", lambda _seconds: None)
    alarm(PATIENCE)
    yield
    alarm(0)
