"""Notebooks as pages: their texts, their code, and the outputs that are stored with them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BEHIND = "index.md"


def on_config(config: Any) -> Any:
    """Puts notebooks behind the first page."""
    first = next(entry["Get started"] for entry in config.nav if "Get started" in entry)
    names = [f"notebooks/{path.stem}.md" for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
    place = first.index(_BEHIND) + 1
    first[place:place] = [name for name in names if name not in first]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds a page for each notebook, and its pictures."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        pictures: dict[str, bytes] = {}
        lines = [f"[The notebook as a file]({path.name})", ""]
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for number, cell in enumerate(notebook["cells"]):
            lines += [*_cell(cell, f"{path.stem}_{number}", pictures), ""]
        text = "\n".join(_with_title_first(lines))
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def _with_title_first(lines: list[str]) -> list[str]:
    """The link to the file goes below the title."""
    title = next((n for n, line in enumerate(lines) if line.startswith("# ")), 0)
    return [lines[title], "", lines[0], *lines[1:title], *lines[title + 1 :]] if title else lines


def _cell(cell: dict[str, Any], name: str, pictures: dict[str, bytes]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield from source.splitlines()
    elif cell["cell_type"] == "code" and source.strip():
        yield from _fenced("python", source)
        for number, output in enumerate(cell["outputs"]):
            yield ""
            yield from _output(output, f"{name}_{number}.png", pictures)


def _output(output: dict[str, Any], name: str, pictures: dict[str, bytes]) -> Iterator[str]:
    if output["output_type"] == "stream":
        yield from _fenced("text", "".join(output["text"]))
    elif output["output_type"] == "error":
        yield from _fenced("text", "\n".join(output["traceback"]))
    elif "image/png" in output["data"]:
        pictures[name] = base64.b64decode("".join(output["data"]["image/png"]))
        yield f"![Output]({name})"
    else:
        yield from _fenced("text", "".join(output["data"].get("text/plain", "")))


def _fenced(language: str, text: str) -> Iterator[str]:
    # What a terminal has overwritten, such as steps of a bar, is not shown.
    lines = [line.rsplit("\r", 1)[-1] for line in _ESCAPES.sub("", text).strip("\r\n").split("\n")]
    yield from (f"````{language}", *lines, "````")
