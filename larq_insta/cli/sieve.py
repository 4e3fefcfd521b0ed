"""A program that passes on what a process says, but for logs of native libraries.

These are kept, and shown if the process dies. It is a process of its own, as it must live longer,
and imports nothing but Python's own: it starts in a hundredth of a second.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections import deque
from collections.abc import Callable

END = b"\0larq-insta "
"""In front of a last word: `DROP` or `SHOW` what was kept."""

DROP, SHOW = b"drop", b"show"

_LAST_WORDS = b"Native libraries had logged:\n"
_KEPT_LINES = 200
_LOG = re.compile(
    rb"\d{4}-\d\d-\d\d [\d:.]+: ([IWEF]) "  # TensorFlow's own
    rb"|([IWEF])\d{4} [\d:.]+ +\d+ "  # absl's
    rb"|(INFO|WARNING): "  # TensorFlow Lite's, and absl's about its own
)
_FURTHER_LINE = re.compile(
    rb"[ \t]|To enable the following instructions: |\d+ (successful operations|derived errors ign)"
)


class Sieve:
    """Takes lines, and writes those that are no logs below a level.

    # Arguments
        level: Of the first severity that is not kept back: 0 informs, 1 warns, 2 is an error,
            3 fatal; as `TF_CPP_MIN_LOG_LEVEL`.
        write: Called with what passes.
    """

    def __init__(self, level: int, write: Callable[[bytes], object]) -> None:
        self._level = level
        self._write = write
        self._kept: deque[bytes] = deque(maxlen=_KEPT_LINES)
        self._keeping = False

    def take(self, line: bytes) -> None:
        severity = _severity(line)
        if severity is not None:
            self._keeping = severity < self._level
        elif not _FURTHER_LINE.match(line):
            self._keeping = False
        if self._keeping:
            self._kept.append(line)
            return
        if severity == 3:
            self.show()  # what led to it
        self._write(line)

    def show(self) -> None:
        """Writes what was kept."""
        if self._kept:
            self._write(_LAST_WORDS + b"".join(self._kept))
            self._kept.clear()


def _severity(line: bytes) -> int | None:
    match = _LOG.match(line)
    return b"IWEF".index(next(filter(None, match.groups()))[:1]) if match else None


def run(level: int, source: int, target: int) -> None:
    """Sieves one file descriptor into another until its end, or the last word."""
    sieve, rest = Sieve(level, lambda text: os.write(target, text)), b""
    while chunk := os.read(source, 1 << 16):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            text, end, word = line.partition(END)
            if text or not end:
                sieve.take(text + b"\n")
            if end:
                if word == SHOW:
                    sieve.show()
                return
    if rest:
        sieve.take(rest)
    sieve.show()


if __name__ == "__main__":
    for _name in ("SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP"):  # it ends with the other process
        if hasattr(signal, _name):
            signal.signal(getattr(signal, _name), signal.SIG_IGN)
    run(int(sys.argv[1]), 0, 2)
