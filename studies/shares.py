"""What a trained model of the package makes of test pictures, and of others."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from larq_insta_runtime import Model

SURE = 0.9


def shares(
    model: Model,
    answers: np.ndarray,
    labels: np.ndarray,
    changed: Mapping[str, np.ndarray],
    others: Mapping[str, np.ndarray],
) -> Iterator[tuple[str, float]]:
    """Shares by what they are of: right by class, and how often a class gets above 90 %.

    # Arguments
        answers: The model's, to the test pictures.
        changed: The test pictures in other ways, by what they are.
        others: Pictures of which it is asked how often it is sure.
    """
    right = answers.argmax(-1) == labels
    yield "right", right.mean()
    for label, name in enumerate(model.card.class_names):
        yield f"right of {name}", right[labels == label].mean()
    for name, images in changed.items():
        yield f"right, {name}", (model.predict(images).argmax(-1) == labels).mean()
    sure = answers.max(-1) > SURE
    yield "above 90 %", sure.mean()
    yield "right above 90 %", right[sure].mean()
    for name, images in others.items():
        yield f"above 90 %, {name}", (model.predict(images).max(-1) > SURE).mean()


def tell(figures: Iterable[tuple[str, float]]) -> None:
    for name, share in figures:
        sys.stdout.write(f"{share:8.2%}  {name}\n")
