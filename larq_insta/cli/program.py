"""Programs of ours: what they say, and what of native libraries they do not."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from importlib.abc import MetaPathFinder
from types import FrameType, TracebackType
from typing import Any, TextIO

import click

from larq_insta.cli import sieve
from larq_insta_runtime.commands import Group

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_STDERR = 2


class Quiet(MetaPathFinder):
    """While it lasts, keeps back logs of native libraries, which no user can act upon.

    TensorFlow's own setting does not reach what is logged before absl is initialised, nor
    TensorFlow Lite, and would lose the last words of a process that crashes. So from when
    TensorFlow is first imported all that is written past Python goes through a `sieve`.
    Python's own standard error does not, and remains a terminal if it is one. Whoever has set
    `TF_CPP_MIN_LOG_LEVEL`, or asks for more by another `TF_CPP_...`, gets what is asked for.
    """

    def __init__(self) -> None:
        self._begun = False
        self._sieve: subprocess.Popen[bytes] | None = None
        self._python: TextIO | None = None

    def __enter__(self) -> Quiet:
        if "tensorflow" not in sys.modules:
            sys.meta_path.insert(0, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None
    ) -> None:
        told = kind is None or issubclass(kind, (SystemExit, KeyboardInterrupt))
        self.end(sieve.DROP if told else sieve.SHOW)

    def find_spec(self, name: str, *_: Any) -> None:
        """Finds nothing, but learns what will be imported."""
        if name == "tensorflow" and not self._begun:
            self._begun = True
            self._begin()

    def end(self, word: bytes = sieve.DROP) -> None:
        """Ends it, once: what was kept back is dropped, or shown."""
        with suppress(ValueError):
            sys.meta_path.remove(self)
        if self._sieve is None:
            return
        ended, self._sieve = self._sieve, None
        if self._python is not None:
            sys.stderr.flush()
            sys.stderr = self._python
        os.dup2(self._stderr, _STDERR)
        with suppress(OSError):  # as if somebody has killed it
            os.write(self._pipe, sieve.END + word + b"\n")
        os.close(self._pipe)
        with suppress(subprocess.TimeoutExpired):
            ended.wait(5)

    def _begin(self) -> None:
        try:
            self._stderr = os.dup(_STDERR)
            source, self._pipe = os.pipe()
            program = [sys.executable, "-I", "-S", sieve.__file__, str(_level())]
            self._sieve = subprocess.Popen(  # noqa: S603
                program, stdin=source, stdout=subprocess.DEVNULL
            )
        except OSError:  # no standard error, or no more processes: at least what it offers itself
            os.environ.setdefault(_LEVEL, "3")
            return
        os.close(source)
        if _is_standard(sys.stderr):
            self._python = sys.stderr
            sys.stderr = os.fdopen(
                self._stderr, "w", 1, sys.stderr.encoding, sys.stderr.errors, closefd=False
            )
        os.dup2(self._pipe, _STDERR)


def _level() -> int:
    asked = [name for name in os.environ if name.startswith("TF_CPP_")]
    try:
        return int(os.environ[_LEVEL])
    except (KeyError, ValueError):
        return 0 if asked else 3


def _is_standard(stream: TextIO) -> bool:
    try:
        return stream.fileno() == _STDERR
    except (OSError, ValueError, AttributeError):  # none, or one of a test
        return False


class Program(Group):
    """The commands as a program, quiet and with words of its own."""

    after_stop = f"{Group.after_stop}, and a training goes on after its last whole epoch"
    quiet: Quiet | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not kwargs.get("standalone_mode", True):  # the process is another's
            return super().__call__(*args, **kwargs)
        with Quiet() as self.quiet:
            return super().__call__(*args, **kwargs)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.quiet is not None:
            self.quiet.end()
        super()._stop(number, frame)


class Script(Program):
    """One command as such a program, for files at the root."""

    def __init__(self, command: click.Command) -> None:
        super().__init__(command.name)
        self._command = command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        return self._command.main(*args, **kwargs)
