"""What a training on pictures depends on, and in which words that has changed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from larq_insta.data.dataset import ImageDataset
from larq_insta.data.naming import listed
from larq_insta.data.splits import PARTS


def identity(dataset: ImageDataset) -> dict[str, Any]:
    """As JSON has it."""
    values = {
        "class_names": dataset.class_names,
        "pictures": {part: getattr(dataset, part).size for part in PARTS},
        "source": dataset.source,
        "preprocessing": asdict(dataset.preprocessing),
        "augmentation": dataset.augmentation.kind,
    }
    return json.loads(json.dumps(values))


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is different between two identities, in words; nothing if they are the same."""
    words = _of_classes(before.get("class_names", []), now["class_names"])
    for part, count in now["pictures"].items():
        had = before.get("pictures", {}).get(part)
        if had != count:
            words.append(f"{part} had {had} pictures, has {count}")
    for name in ("preprocessing", "augmentation"):
        if before.get(name) != now[name]:
            words.append(f"{name} was {before.get(name)}, is {now[name]}")
    if not words and before.get("source") != now["source"]:
        words.append("the list of files is another")
    return words


def _of_classes(before: Sequence[str], now: Sequence[str]) -> list[str]:
    gone, new = ([x for x in a if x not in b] for a, b in ((before, now), (now, before)))
    words = [f"the classes {listed(gone)} are gone"] if gone else []
    words += [f"the classes {listed(new)} are new"] if new else []
    return words or (["the classes have another order"] if before != now else [])
