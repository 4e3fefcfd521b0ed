"""The interpreter in processes of its own: one a core, and free to crash.

It keeps Python's lock while it computes, so that threads would not do. The processes start in a
fraction of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context
from typing import Any

import numpy as np

from larq_insta.lite.engine import Interpreter
from larq_insta.lite.errors import InputError, first_line

PATIENCE = 600
"""Seconds that a picture may take; the slowest of boards need one or two."""

_contents: list[bytes] = []  # the one of a process of the pool


class LitePool:
    """Predicts with the content of a `.tflite` file in `processes` processes."""

    def __init__(self, content: bytes, processes: int) -> None:
        self._processes = processes
        self._pool = ProcessPoolExecutor(
            processes, mp_context=get_context("spawn"), initializer=_keep, initargs=(content,)
        )

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The output `(images, ...)` for `images`.

        # Raises
            InputError: if the interpreter refuses the content or crashes on it.
        """
        parts = np.array_split(images, max(1, min(self._processes, len(images))))
        return np.concatenate(self._run(_predict, parts))

    def try_out(self, inputs: list[np.ndarray]) -> None:
        """Whether the content can be run with these inputs.

        # Raises
            InputError: if the interpreter refuses it or crashes on it.
        """
        self._run(_run_once, [inputs])

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
            raise InputError(
                f"Larq Compute Engine's interpreter cannot run the model: {first_line(error)}"
            ) from error


def _keep(content: bytes) -> None:
    _contents[:] = [content]
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
    signal.alarm(PATIENCE)  # which ends the process
    outputs = _interpreter().run(inputs)
    signal.alarm(0)
    return outputs


@cache
def _interpreter() -> Interpreter:
    return Interpreter(_contents[0])
