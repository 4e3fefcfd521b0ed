"""What a report of a fault needs to know of a machine; what is broken is told in its place."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import metadata
from pathlib import Path

from larq_insta_runtime import delegate
from larq_insta_runtime.errors import InputError, first_line
from larq_insta_runtime.rows import described
from larq_insta_runtime.version import __version__

Fact = tuple[str, Callable[[], str]]
"""A name, and what finds its value."""

_PACKAGES = ("ai-edge-litert", "numpy", "pillow")
_WIDTH = 21
_CHOICE = "LARQ_INSTA_KERNELS"


def told(find: Callable[[], str]) -> str:
    """A value, or why it is not to be had."""
    try:
        return find()
    except InputError as error:
        return f"broken: {error}"
    except Exception as error:  # noqa: BLE001  (faults of any kind are what a report is about)
        return f"broken: {type(error).__name__}: {first_line(error)}"


def lines(facts: Iterable[Fact]) -> Iterator[str]:
    """For a screen, each as soon as it is known."""
    for name, find in facts:
        yield from described(name, told(find), _WIDTH, most_lines=2)


def facts() -> Iterator[Fact]:
    """All that a device has."""
    yield from system()
    yield from runtime()


def system() -> Iterator[Fact]:
    """Of the machine and its Python."""
    yield "platform", platform.platform
    yield "Python", lambda: f"{platform.python_version()}, {platform.python_implementation()}"


def runtime() -> Iterator[Fact]:
    """Of this package, what it needs, and what it computes with."""
    yield from versions(["larq-insta-runtime"], __version__)
    yield from versions(_PACKAGES)
    yield "native library", _library
    yield "kernels", _kernels
    yield "processor", _processor


def versions(packages: Iterable[str], running: str | None = None) -> Iterator[Fact]:
    """Of packages as they are installed; `running` is what the imported one says of itself."""
    for name in packages:
        yield name, partial(_version, name, running)


def _version(name: str, running: str | None) -> str:
    try:
        installed = metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed" if running is None else f"{running}, not installed"
    if running in (None, installed):
        return installed
    return f"{running}, but {installed} is installed"


def _library() -> str:
    """Its size, after LiteRT has loaded it."""
    file = delegate.library()
    delegate.kernels()  # LiteRT writes a traceback if it is not of this system
    delegate.load_delegate()
    return f"{file.name}, {file.stat().st_size:,} bytes, loaded by LiteRT"


def _kernels() -> str:
    there = delegate.kernels()
    wanted = os.environ.get(_CHOICE)
    if wanted:
        chosen = wanted if wanted in there else "none"
        return f"{chosen}, as {_CHOICE}={wanted}; there are {', '.join(there)}"
    return f"{there[0]}; there are {', '.join(there)}"


def _processor() -> str:
    cores = os.cpu_count() or 0
    ours = len(os.sched_getaffinity(0)) if sys.platform == "linux" else cores
    return f"{processor()}, {ours} of {cores} cores for this process"


def processor() -> str:
    """Its name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    board = Path("/proc/device-tree/model")  # such as a Raspberry Pi's
    names = (found.get("model name"), found.get("Model"), _text(board), found.get("CPU part"))
    return next((name for name in names if name), platform.machine())


def _text(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").rstrip("\0\n")
    except OSError:
        return None
