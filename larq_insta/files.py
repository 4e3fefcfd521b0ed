"""Writing files whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from larq_insta.errors import InputError

# Of the folders beside a target in which it is written, and which a killed process leaves.
PARTIAL = ".larq_insta-"


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
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=PARTIAL) as folder:
            path = Path(folder) / target.name
            yield path
            path.replace(target)
    except OSError as error:
        raise InputError(
            f"{target} cannot be written ({error.strerror}): make room or choose another place."
        ) from error
