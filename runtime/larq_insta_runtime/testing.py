"""Accuracy on a folder of class folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from larq_insta_runtime.errors import InputError
from larq_insta_runtime.listing import ClassFolders
from larq_insta_runtime.naming import labels_by_name
from larq_insta_runtime.running import Classifier

_BATCH = 256


def labelled_pictures(
    folder: Path, class_names: tuple[str, ...]
) -> tuple[list[Path], np.ndarray, list[str]]:
    """Pictures, the labels by which a model knows their classes, and what users may not expect.

    # Raises
        InputError: if there are none, or the model does not know one of the classes.
    """
    if not folder.is_dir():
        raise InputError(f"A folder of class folders must exist; got {str(folder)!r}.")
    classes = ClassFolders(folder)
    known = np.array(labels_by_name(classes.names, class_names, str(folder)))
    paths, labels = classes.pictures()
    return [Path(os.fsdecode(path)) for path in paths], known[labels], classes.remarks()


def test(model: Classifier, paths: list[Path], labels: np.ndarray) -> Iterator[tuple[int, int]]:
    """How many of the next pictures there are, and how many of them the model knows.

    # Raises
        InputError: if a picture cannot be read.
    """
    with ThreadPoolExecutor(os.cpu_count()) as readers:  # decoding leaves Python's lock
        for start in range(0, len(paths), _BATCH):
            part = slice(start, start + _BATCH)
            images = np.stack(list(readers.map(model.card.preprocessing.read, paths[part])))
            hits = model.predict(images).argmax(-1) == labels[part]
            yield len(hits), int(hits.sum())
