"""Keeps the contents of pictures' files, in memory or in a folder near the processor."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from dataclasses import replace
from pathlib import Path

import tensorflow as tf

from larq_insta.data.dataset import PHOTO_BUFFER, ImageDataset, Split
from larq_insta_runtime.writing import check_writable

MEMORY = "memory"


def with_cache(dataset: ImageDataset, where: str, contents: str) -> ImageDataset:
    """`dataset`, whose training and validation files are read once only.

    In memory the pictures' order stays perfectly random; that of files on disk is as random
    as a buffer makes it.

    # Arguments
        dataset: Pictures in files.
        where: `"memory"`, or a folder that many trainings may share.
        contents: Names what the files hold; another name gets another cache.

    # Raises
        InputError: if the folder cannot be written.
    """
    if where != MEMORY:
        check_writable(Path(where) / "data")
    buffer = None if where == MEMORY else PHOTO_BUFFER
    plain = replace(dataset, train=replace(dataset.train, buffer=buffer, in_order=None))

    def kept(split: Split, part: str) -> Split:
        fetched = _fetched(plain, split)
        file = "" if where == MEMORY else _file(Path(where), f"{contents} {part}")
        return replace(fetched, examples=fetched.examples.cache(file)) if split.size else fetched

    return replace(
        plain,
        train=kept(plain.train, "train"),
        validation=kept(plain.validation, "validation"),
        test=_fetched(plain, plain.test),
        fetch=tf.identity,
        uncached=plain,
    )


def _fetched(dataset: ImageDataset, split: Split) -> Split:
    examples = split.examples.map(
        lambda item, label: (dataset.fetch(item), label), num_parallel_calls=tf.data.AUTOTUNE
    )
    return replace(split, examples=examples)


def _file(folder: Path, contents: str) -> str:
    """A whole cache if there is one, else a new one that is this process's alone."""
    folder.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(contents.encode()).hexdigest()[:16]
    _remove_abandoned(folder)
    whole = sorted(folder.glob(f"{key}-*.index"))
    name = whole[0].stem if whole else f"{key}-{socket.gethostname()}-{os.getpid()}"
    return str(folder / name)


def _remove_abandoned(folder: Path) -> None:
    """What processes of this machine have begun that no longer run."""
    for lock in folder.glob(f"*-{socket.gethostname()}-*_0.lockfile"):
        process = re.search(r"-(\d+)_0\.lockfile$", lock.name)
        if process and not _runs(int(process[1])):
            for file in folder.glob(f"{lock.name.removesuffix('.lockfile')}.*"):
                file.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
