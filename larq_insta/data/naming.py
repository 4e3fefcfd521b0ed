"""Names of classes and files, as users give them and read them."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Sequence
from contextlib import suppress


def composed(name: str) -> str:
    """A class's name in one of the ways that Unicode has to write the same letters."""
    return unicodedata.normalize("NFC", name)


def as_text(name: str) -> str | None:
    """A class's name by that of its folder; `None` if it is no text.

    Names of files are UTF-8 nearly everywhere, also where the locale speaks of ASCII alone.
    """
    for encoding in ("utf-8", sys.getfilesystemencoding()):
        with suppress(UnicodeDecodeError):
            return composed(os.fsencode(name).decode(encoding))
    return None


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names in words, the first of them where there are many."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
