"""The trained models that come with the package, by their names."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "trained"
MODELS = {"fashion_mnist": "InstaResNet18", "imagenette": "InstaResNet18"}
"""Whose weights each name means. Their documents tell how they were made."""


def converted(name: str) -> Path:
    return FOLDER / f"{name}.tflite"


def document(file: Path) -> Path | None:
    """What is to be known of a trained model's converted file; of others there is none."""
    known = file.stem in MODELS and file.resolve() == converted(file.stem).resolve()
    return file.with_suffix(".md") if known else None


def find(path: Path) -> Path:
    """The converted file of a trained model if `path` is its name, else `path` itself.

    A file of that name would have no suffix, and so be no model.
    """
    return converted(str(path)) if str(path) in MODELS else path
