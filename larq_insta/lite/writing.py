"""Writing files whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from larq_insta.lite.errors import InputError

# Of the folders beside a target in which it is written, and which a killed process leaves.
PARTIAL = ".larq_insta-"

_LOCK = f"{PARTIAL}lock"

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
    for path in tuple(_own):
        _remove(path)


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Keeps other processes out of a folder, which is made if need be and not left empty.

    # Returns
        Whether it does; on file systems without locks it cannot.

    # Raises
        InputError: if another process is in it, or nothing can be written there.
    """
    path = folder / _LOCK
    check_writable(path)
    made = [x for x in (folder, *folder.absolute().parents) if not x.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock, holds = _lock_file(path)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written to ({error.strerror}): make room or choose another place."
        ) from error
    _own.add(path)
    try:
        yield holds
    finally:
        _remove(path)
        _own.discard(path)
        os.close(lock)
        with suppress(OSError):  # not empty
            for parent in made:
                parent.rmdir()


def _lock_file(path: Path) -> tuple[int, bool]:
    """Opens and locks a file, which unlike a folder can be locked over a network, too."""
    access = os.O_RDONLY  # else nobody could make the disk read-only meanwhile
    while True:
        lock = os.open(path, access | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise InputError(
                f"One process at a time may work in a folder; {_holder(path)} does in "
                f"{path.parent}: wait until it has ended, or choose another folder."
            ) from error
        except OSError as error:
            if error.errno != errno.EBADF or access == os.O_RDWR:
                return lock, False
            access = os.O_RDWR  # as NFS demands of locks
        else:
            if os.fstat(lock).st_nlink:
                with suppress(OSError):  # no room, but the lock holds
                    path.write_text(f"process {os.getpid()} on {socket.gethostname()}")
                return lock, True
        os.close(lock)  # or the process before has removed it


def _holder(path: Path) -> str:
    try:
        return path.read_text(errors="replace")[:100] or "another"
    except OSError:
        return "another"


def _remove(path: Path) -> None:
    """A file or a folder with all that is in it, as far as that can be done."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()


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
