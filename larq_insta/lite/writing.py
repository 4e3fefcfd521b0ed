"""Writing files whole or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from larq_insta.lite.errors import InputError

# Of the folders beside a target in which it is written, and which a killed process leaves.
PARTIAL = ".larq_insta-"

_own: set[Path] = set()


def check_writable(target: Path) -> None:
    """Whether a file or folder can be made, without making anything.

    # Raises
        InputError: if not.
    """
    existing = next(path for path in target.absolute().parents if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise InputError(
            f"The output must be in a folder that can be written; {existing} cannot: choose "
            f"another place than {target}."
        )


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to; it becomes `target` at the end, or vanishes.

    # Raises
        InputError: if it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(target.parent)
        with _own_folder(target.parent) as folder:
            path = folder / target.name
            yield path
            path.replace(target)
    except OSError as error:
        raise InputError(
            f"{target} cannot be written ({error.strerror}): make room or choose another place."
        ) from error


def remove_partial() -> None:
    """Removes what this process has begun to write, as it is about to end."""
    for folder in tuple(_own):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _own_folder(parent: Path) -> Iterator[Path]:
    """A folder that is locked while this process lives, and removed at the end."""
    lock = None
    while lock is None:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=PARTIAL))
        lock = _lock(folder)  # none if another process found it before it was locked
    _own.add(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _own.discard(folder)
        os.close(lock)


def _remove_abandoned(parent: Path) -> None:
    """Removes what processes have begun to write that no longer run."""
    for folder in parent.glob(f"{PARTIAL}*"):
        with suppress(OSError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _lock(folder: Path) -> int | None:
    """Locks a new folder; answers none if it is being removed."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    except OSError:  # a file system without locks, where nobody removes anything
        return lock
    if os.fstat(lock).st_nlink:
        return lock
    os.close(lock)
    return None
