"""Training: from a recipe to checkpoints and a result."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from larq_insta.training.preparing import build
    from larq_insta.training.steps import train

__all__ = ["build", "train"]

_HOMES = {"build": "preparing", "train": "steps"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not before: recipes do not need TensorFlow.
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
