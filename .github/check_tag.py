"""Whether a tag may be published: all that names a version must name the tag's.

python .github/check_tag.py v0.1.0
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACES = {
    "larq_insta/version.py": r'^__version__ = "(.+)"$',
    "runtime/larq_insta_runtime/version.py": r'^__version__ = "(.+)"$',
    "CITATION.cff": r"^version: (.+)$",
    "CHANGELOG.md": r"^## (.+?)(?: \(.+\))?$",
}
"""What must stand there first."""


def problems(root: Path, tag: str) -> list[str]:
    found = []
    for file, pattern in PLACES.items():
        first = re.search(pattern, (root / file).read_text(encoding="utf-8"), re.MULTILINE)
        version = first[1] if first else "none"
        if f"v{version}" != tag:
            found.append(f"{file} says {version}")
    return found


def main() -> None:
    tag = sys.argv[1]
    found = problems(ROOT, tag)
    if found:
        sys.exit(f"All must be of the tag's version; got {tag}: {'; '.join(found)}.")


if __name__ == "__main__":
    main()
