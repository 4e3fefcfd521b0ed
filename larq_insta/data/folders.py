"""Data sets in folders: which of them are for training, validation and testing."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from larq_insta.data import augmentation, fetching, splits
from larq_insta.data.dataset import ImageDataset, Split
from larq_insta.data.listing import ClassFolders, folders_in
from larq_insta.data.naming import listed
from larq_insta.data.preprocessing import decode
from larq_insta.lite.errors import InputError
from larq_insta.lite.preprocessing import Preprocessing

_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_IMAGENET_CLASS = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class _Layout:
    """Folders of class folders by what they are for, and what a user should know of that."""

    parts: dict[str, ClassFolders]
    notes: tuple[str, ...] = ()


def load(root: Path, pre: Preprocessing, kind: str | None, validation_share: float) -> ImageDataset:
    """See `data.load`.

    # Arguments
        root: Holds class folders, or folders for training and others that hold these.
        pre: How pictures are prepared.
        kind: Of augmentation; by default mirrored only if the classes are ImageNet's, as
            what others show may mean something else in a mirror.
        validation_share: See `splits.in_three`.
    """
    layout = _layout(root, validation_share)
    names = _class_names(layout.parts)
    arrays = {part: folder.pictures() for part, folder in layout.parts.items()}
    if "test" in arrays:  # else they are mixed when the test pictures are drawn
        arrays = {part: splits.mixed(*pictures) for part, pictures in arrays.items()}
    train, validation, test = splits.of_arrays(arrays, names, validation_share)
    remarks = [words for folder in layout.parts.values() for words in folder.remarks()]
    things = all(_IMAGENET_CLASS.fullmatch(name) for name in names)
    default = augmentation.CROPS_AND_MIRROR if things else augmentation.CROPS
    return ImageDataset(
        str(root),
        names,
        pre,
        augmentation.of_photographs(pre, kind or default),
        partial(decode, pre),
        Split.of_arrays(*train),
        Split.of_arrays(*validation),
        Split.of_arrays(*test),
        fetch=partial(fetching.fetch, channels=pre.channels),
        source=splits.digest(_relative(paths, root) for paths, _ in (train, validation, test)),
        notes=(*layout.notes, *remarks),
    )


def stamps(dataset: ImageDataset) -> str:
    """Of all files; another text where what they hold may be another."""
    stats = (
        Path(os.fsdecode(path)).stat()
        for split in (dataset.train, dataset.validation, dataset.test)
        for path, _ in split.examples.as_numpy_iterator()
    )
    return "\n".join(f"{x.st_size} {x.st_mtime_ns}" for x in stats)


def _layout(root: Path, validation_share: float) -> _Layout:
    if not root.is_dir():
        raise InputError(f"A data set's folder must exist; got {str(root)!r}: check the path.")
    found, others = _told_apart(root)
    if not found or (others and not ("train" in found and len(found) > 1)):
        return _Layout({"train": ClassFolders(root)})  # a class may be one of trains
    notes = [f"Left out of {root}: the folders {listed(others)}."] if others else []
    if "train" in found and "test" in found and not found["test"].by_name:
        notes.append(f"Left out: {found.pop('test').root}, as it has no class folders.")
    used, more = splits.by_use(found, lambda part: str(part.root), validation_share)
    return _Layout(used, (*notes, *more))


def _told_apart(root: Path) -> tuple[dict[str, ClassFolders], list[str]]:
    """Folders of parts, and names of others."""
    found: dict[str, ClassFolders] = {}
    others = []
    for folder in folders_in(root):
        part = _PARTS.get(folder.name.lower())
        if part is None:
            others.append(folder.name)
        elif part in found:
            raise InputError(
                f"A data set must have one folder for {part}; {root} has "
                f"{found[part].root.name} and {folder.name}: move one away."
            )
        else:
            found[part] = ClassFolders(folder)
    return found, others


def _class_names(parts: dict[str, ClassFolders]) -> tuple[str, ...]:
    first, *others = parts.values()
    for other in others:
        different = set(first.names) ^ set(other.names)
        if different:
            raise InputError(
                f"The folders {first.root} and {other.root} must hold the same class folders; "
                f"{listed(sorted(different))} is in one of them only: rename or add it."
            )
    return first.names


def _relative(paths: np.ndarray, root: Path) -> list[bytes]:
    start = os.fsencode(root) + b"/"
    return [path.removeprefix(start) for path in paths.tolist()]
