"""How far a training has come: a line an epoch, and on a terminal a bar with the time left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from larq_insta_runtime.progress import Line, Pace, duration

_Logs = dict[str, Any] | None


class Progress(tf.keras.callbacks.Callback):
    """Says what came of each epoch, and when all will be done; shows updates on a terminal.

    It is a context, at whose end the terminal's line is free again, whatever happened.

    # Arguments
        say: Called with each line.
        further: Updates that follow after this `fit`, in later steps.
    """

    _supports_tf_logs = True  # else Keras fetches the logs of each update

    def __init__(self, say: Callable[[str], None], further: int = 0) -> None:
        super().__init__()
        self._say = say
        self._further = further
        self._line = Line()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.clear()

    def on_train_begin(self, logs: _Logs = None) -> None:  # noqa: ARG002
        self._pace = Pace(self.params["epochs"] * self.params["steps"] + self._further)
        self._restarts = 2

    def on_epoch_begin(self, epoch: int, logs: _Logs = None) -> None:  # noqa: ARG002
        self._begin = time.monotonic()
        self._done = epoch * self.params["steps"]
        self._label = f"Epoch {epoch + 1}/{self.params['epochs']}"

    def on_train_batch_end(self, batch: int, logs: _Logs = None) -> None:
        self._done += 1
        if not batch and self._restarts:  # until then graphs were traced, to validate, too
            self._restarts -= 1
            self._pace.restart(self._done)
        if self._line.due:
            share = (batch + 1) / self.params["steps"]
            self._line.bar(self._label, share, self._pace.left(self._done), *_values(logs))

    def on_test_batch_end(self, batch: int, logs: _Logs = None) -> None:  # noqa: ARG002
        if self._line.due:
            self._line.write(f"{self._label}, batch {batch + 1} of validation")

    def on_epoch_end(self, epoch: int, logs: _Logs = None) -> None:  # noqa: ARG002
        self._line.clear()
        took = duration(time.monotonic() - self._begin)
        words = [*_values(logs), took, self._pace.left(self._done)]
        self._say(f"{self._label}: {', '.join(filter(None, words))}")


def _values(logs: _Logs) -> list[str]:
    return [f"{name} {float(value):.4f}" for name, value in (logs or {}).items()]
