"""MathJax, served with the site: its files are those of an installed package."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

_PROGRAM = "tex-chtml.js"
_FONTS = "output/chtml/fonts/woff-v2"


def on_files(files: Any, config: Any) -> Any:
    """Adds the program that sets TeX, and its fonts."""
    package = metadata.distribution("django-static-mathjax")
    root = Path(str(package.locate_file("mathjax/static/mathjax/es5")))
    for path in sorted([root / _PROGRAM, *(root / _FONTS).glob("*.woff")]):
        uri = f"mathjax/{path.relative_to(root).as_posix()}"
        files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files
