"""Pages that are written outside of `docs/`, and links that work on the forge and in the site.

Texts link to files by their places in the repository. Here such a link becomes one to the page of
that file, if the site has it; else one to the file under `repo_url`; without that, its name.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]

_PAGES = {"CHANGELOG.md": "changelog.md", "README.md": "index.md"}
"""Pages of other names than their files; the site's first page says what the README does."""

_FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2[ ]*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<bang>!?)\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s]+)\)")


def on_files(files: Any, config: Any) -> Any:
    """Adds the changelog, and the texts and pictures of the studies."""
    for path in sorted([ROOT / "CHANGELOG.md", *ROOT.glob("studies/*/*.md")]):
        files.append(_added(config, path))
    for path in sorted(ROOT.glob("studies/*/*.png")):
        files.append(_added(config, path))
    return files


def _added(config: Any, path: Path) -> File:
    name = path.relative_to(ROOT).as_posix()
    return File.generated(config, _PAGES.get(name, name), abs_src_path=str(path))


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turns links between files into links between pages."""
    uri = page.file.src_uri
    source = page.file.abs_src_path or ROOT / "docs" / uri  # made of a notebook
    here = PurePosixPath(Path(source).relative_to(ROOT).as_posix())
    known = {file.src_uri for file in files}

    def linked(match: re.Match[str]) -> str:
        return _linked(match, here, uri, known, config.repo_url)

    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [_LINK.sub(linked, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(linked, markdown[end:])])


def _linked(
    match: re.Match[str], here: PurePosixPath, uri: str, known: set[str], repository: str | None
) -> str:
    path, hash_, anchor = match["target"].partition("#")
    if not path or ":" in path:
        return match[0]
    place = posixpath.normpath(here.parent / path)
    page = _PAGES.get(place, place.removeprefix("docs/"))
    page = re.sub(r"\.ipynb$", ".md", page)
    if page in known:
        target = posixpath.relpath(page, posixpath.dirname(uri) or ".")
        return f"{match['bang']}[{match['text']}]({target}{hash_}{anchor})"
    if not (ROOT / place).exists():
        return match[0]  # so that a strict build tells it
    if repository:
        return f"[{match['text']}]({repository.rstrip('/')}/blob/HEAD/{place}{hash_}{anchor})"
    return match["text"] if "`" in match["text"] else f"{match['text']} (`{place}`)"
