"""What lies in a folder of class folders: pictures at any depth, and what is none."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from larq_insta.data.naming import as_text, listed
from larq_insta.lite import pictures
from larq_insta.lite.errors import InputError

_SYSTEMS = {"__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information"}
"""Folders that systems put beside one's own."""
_STARTS = (b"\xff\xd8", b"\x89PNG", b"GIF8", b"BM", b"RIFF")
"""Of JPEG, PNG, GIF, BMP and WebP files."""


def folders_in(folder: Path) -> list[Path]:
    """But for those that systems and programs hide there for themselves."""
    return [Path(entry) for entry in _entries(folder) if entry.is_dir()]


@dataclass(frozen=True)
class ClassFolders:
    """A folder with one for each class."""

    root: Path

    @cached_property
    def by_name(self) -> dict[str, Path]:
        """The classes' folders, in the order of the classes.

        # Raises
            InputError: if their names are none of classes.
        """
        found: dict[str, Path] = {}
        for folder in folders_in(self.root):
            name = as_text(folder.name)
            if name is None:
                raise InputError(
                    f"Names of class folders must be UTF-8, as they name the classes; got "
                    f"{os.fsencode(folder.name)!r} in {self.root}: rename it."
                )
            if name in found:
                raise InputError(
                    f"Class folders must have different names; {self.root} has {name!r} twice, in "
                    "two ways of Unicode to write it: put their pictures together."
                )
            found[name] = folder
        return dict(sorted(found.items()))

    @property
    def names(self) -> tuple[str, ...]:
        """# Raises
        InputError: if there are fewer than two classes.
        """
        if len(self.by_name) < 2:
            raise InputError(
                f"A data set's folder must hold one folder for each class, two at least; got "
                f"{len(self.by_name)} in {self.root}."
            )
        return tuple(self.by_name)

    def pictures(self) -> tuple[np.ndarray, np.ndarray]:
        """Paths in bytes, and labels.

        # Raises
            InputError: if a class has no pictures.
        """
        found = [
            (os.fsencode(path), label)
            for label, name in enumerate(self.names)
            for path in self._of_class(name)
        ]
        paths, labels = zip(*found, strict=True)
        return np.array(paths), np.array(labels, np.int64)

    def remarks(self) -> list[str]:
        """What users may not expect: pictures far down, no pictures, pictures of no class."""
        words = []
        below = [
            path for name in self.names for path in self._files[name][0] if self._is_below(path)
        ]
        if below:
            words.append(
                f"{len(below):,} pictures of {self.root} lie deeper than in the folder of their "
                f"class, and count to it; the first is {_printable(below[0])}."
            )
        others = [path for name in self.names for path in self._files[name][1]]
        if others:
            kinds = Counter(path.suffix.lower() or "no suffix" for path in others)
            counts = listed([f"{count:,} ({kind})" for kind, count in sorted(kinds.items())])
            words.append(
                f"Left out of {self.root}, as no JPEG, PNG, GIF, BMP or WebP files: {counts}; the "
                f"first is {_printable(others[0])}."
            )
        files = [Path(entry) for entry in _entries(self.root) if not entry.is_dir()]
        strays = [path for path in files if _is_picture(path)]
        if strays:
            words.append(f"Left out of {self.root}, as in no class's folder: {len(strays):,}.")
        return words

    def _is_below(self, path: Path) -> bool:
        return path.parent.parent != self.root

    def _of_class(self, name: str) -> list[Path]:
        found, _ = self._files[name]
        if not found:
            raise InputError(
                f"Every class folder must hold pictures ({', '.join(pictures.SUFFIXES)}); "
                f"{self.by_name[name]} holds none."
            )
        return found

    @cached_property
    def _files(self) -> dict[str, tuple[list[Path], list[Path]]]:
        """By class, pictures and others."""
        return {name: _told_apart(_files_in(folder)) for name, folder in self.by_name.items()}


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is not hidden, by name."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(
            f"A data set's folders must be readable; {folder} is not ({error.strerror}): change "
            "who may read it."
        ) from error
    return [entry for entry in entries if entry.name[0] != "." and entry.name not in _SYSTEMS]


def _files_in(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """At any depth; of a link that leads up again nothing."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for entry in _entries(folder):
        if entry.is_dir():
            yield from _files_in(Path(entry), (*above, real))
        else:
            yield Path(entry)


def _told_apart(files: Iterator[Path]) -> tuple[list[Path], list[Path]]:
    found: list[Path] = []
    others: list[Path] = []
    for path in files:
        (found if _is_picture(path) else others).append(path)
    return found, others


def _printable(path: Path) -> str:
    return os.fsencode(path).decode(errors="replace")


def _is_picture(path: Path) -> bool:
    """Whether a file is called one and begins as one; else reading it would end a training."""
    if path.suffix.lower() not in pictures.SUFFIXES:
        return False
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(_STARTS)
    except OSError as error:
        raise InputError(
            f"Every picture must be there and readable; {path} is not ({error.strerror}): restore "
            "or remove it."
        ) from error
