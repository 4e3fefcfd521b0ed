"""Names and values in lines of a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from larq_insta_runtime.commands import shown

_COLUMNS = 80


def described(name: str, value: str, width: int, most_lines: int | None = None) -> Iterator[str]:
    """A value in lines behind its name, which takes `width` columns."""
    lines = textwrap.wrap(
        shown(value),
        _COLUMNS - 1 - width,  # terminals put what fills a line to its end in two
        max_lines=most_lines,
        placeholder=" ...",
        break_on_hyphens=False,
    )
    for i, line in enumerate(lines or ["-"]):
        yield f"{'' if i else name:{width}}{line}"
