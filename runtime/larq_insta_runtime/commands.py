"""Commands: what they take, how they show errors, and how they end."""

from __future__ import annotations

import errno
import io
import multiprocessing
import os
import signal
import sys
import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

import click

from larq_insta_runtime import writing
from larq_insta_runtime.errors import InputError


def shown(text: str) -> str:
    """Text in one line, without what would move the cursor of a terminal or colour it."""
    # Bytes of names that Python could not read are surrogates, which nothing prints.
    text = text.encode(errors="surrogateescape").decode(errors="replace")
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def in_one_line(error: InputError) -> str:
    return shown(" ".join(str(error).split()))


class _Failure(click.ClickException):
    exit_code = 2


class Command(click.Command):
    """Shows an `InputError` as one line and ends with exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings():
                # Keras warns of QuickNet's blurring filter, a function, which it reads again all
                # the same.
                warnings.filterwarnings("ignore", "The `keras.initializers.serialize")
                return super().invoke(ctx)
        except InputError as error:
            raise _Failure(in_one_line(error)) from error
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            name = InputError(f"Names of files must not be so long; got {error.filename}.")
            raise _Failure(in_one_line(name)) from error


command = partial(click.command, cls=Command)


def path(**kwargs: Any) -> click.Path:
    return click.Path(path_type=Path, **kwargs)


_STOPS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


def never_fail(stream: TextIO) -> None:
    """Makes a stream write what its encoding lacks, such as a class's letters, in its place."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


class Group(click.Group):
    command_class = Command
    after_stop = "the same command begins again"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("standalone_mode", True):  # else the process is another's
            for number in _STOPS:
                if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and shells set it
                    signal.signal(number, self._stop)
            never_fail(sys.stdout)
        return super().__call__(*args, **kwargs)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        """Ends the process.

        An exception would be lost, or shown with its traceback, where other libraries call back.
        """
        writing.remove_partial()
        for child in multiprocessing.active_children():
            child.kill()
        with suppress(RuntimeError, OSError):  # where a line was just being written
            sys.stdout.flush()
        line = f"\nError: Stopped by {_STOPS[signal.Signals(number)]}: {self.after_stop}.\n"
        with suppress(OSError):
            os.write(2, line.encode())
        os._exit(128 + number)
