"""How far long work has come, on terminals; to files and pipes nothing of it is written."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, TypeVar

T = TypeVar("T", bound=tuple[Any, Any])

_CELLS = 16  # leaves room for the time left, loss and accuracy in 80 columns
_SECONDS_BETWEEN = 0.1


def duration(seconds: float) -> str:
    """In words as exact as anybody needs: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


class Pace:
    """How long what is left of some work will take, if it goes on as since `restart`.

    # Arguments
        total: How much work there is, in any unit.
        done: How much of it is done already.
    """

    def __init__(self, total: int, done: int = 0) -> None:
        self._total = total
        self.restart(done)

    def restart(self, done: int) -> None:
        """Forgets how long it took so far, as what is done first takes longer."""
        self._since, self._done = time.monotonic(), done

    def left(self, done: int) -> str:
        """Such as `12 min left`; nothing if that cannot be known yet, or nothing is left."""
        if not self._done < done < self._total:
            return ""
        each = (time.monotonic() - self._since) / (done - self._done)
        return f"{duration(each * (self._total - done))} left"


class Line:
    """A line that is written again and again, on a terminal only.

    # Arguments
        stream: Where; by default Python's standard error, as results go to standard output.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self.shown = self._stream is not None and self._stream.isatty()  # a closed one is None
        self._written = 0
        self._next = 0.0
        self._lock = threading.RLock()

    @property
    def due(self) -> bool:
        """Whether it is shown and was not written just now; to make no words for nothing."""
        return self.shown and time.monotonic() >= self._next

    def write(self, text: str) -> None:
        if not self.shown:
            return
        with self._lock:
            self._next = time.monotonic() + _SECONDS_BETWEEN
            text = text[: self._columns() - 1]  # at the last one terminals begin another line
            self._put(f"\r{text.ljust(self._written)}")
            self._written = len(text)

    def bar(self, label: str, share: float, *words: str) -> None:
        """A label, a bar of which `share` (0 to 1) is filled, and words that are not empty."""
        filled = int(share * _CELLS)
        bar = f"[{'=' * filled}{'.' * (_CELLS - filled)}]"
        self.write(", ".join([f"{label} {bar} {share:4.0%}", *filter(None, words)]))

    def clear(self) -> None:
        """Makes room for other words, at the line's beginning."""
        with self._lock:
            if self._written:
                self._put(f"\r{' ' * self._written}\r")
                self._written = 0

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def _put(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self.shown = False  # the terminal was closed; the work goes on


def counted(batches: Iterable[T], total: int, label: str) -> Iterator[T]:
    """The same batches `(images, classes)`, with a bar of how many of `total` images are done."""
    line, pace, done = Line(), Pace(total), 0
    try:
        for batch in batches:
            yield batch
            done += len(batch[1])
            if line.due:
                line.bar(label, min(1.0, done / total), pace.left(done))
            if done == len(batch[1]):
                pace.restart(done)  # the first took longer
    finally:
        line.clear()


@contextmanager
def stages() -> Iterator[Callable[[str], None]]:
    """A function to be told each stage of some work, shown with the time that it takes."""
    line, ended = Line(), threading.Event()
    stage, since = "", time.monotonic()

    def tell(name: str) -> None:
        nonlocal stage, since
        stage, since = name, time.monotonic()
        show()

    def show() -> None:
        seconds = time.monotonic() - since
        took = f" {duration(seconds)}" if seconds >= 0.5 else ""
        line.write(f"{stage[:1].upper()}{stage[1:]} ...{took}")

    def tick() -> None:
        while not ended.wait(1):
            if stage:
                show()

    ticker = threading.Thread(target=tick, daemon=True)
    if line.shown:
        ticker.start()
    try:
        yield tell
    finally:
        ended.set()
        if line.shown:
            ticker.join()
        line.clear()
