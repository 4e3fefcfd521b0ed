"""Names of classes and files, as users give them and read them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def composed(name: str) -> str:
    """A class's name in one of the ways that Unicode has to write the same letters."""
    return unicodedata.normalize("NFC", name)


def is_text(name: str) -> bool:
    # What is not UTF-8 in names of files becomes surrogates, which nothing can write.
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names in words, the first of them where there are many."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
