"""What a model takes that says nothing of it, by its accuracy on pictures of each kind."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from larq_insta.data.preprocessing import kinds
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.preprocessing import Preprocessing

_SIGMAS = 3
"""By how much the best kind must stand out, in standard deviations of mere chance."""


def given(model: tf.keras.Model, preprocessing: Preprocessing, name: str) -> Preprocessing:
    """The kind of a name.

    # Raises
        InputError: if the model cannot take it.
    """
    known = kinds(preprocessing, _takes_integers(model))
    if name not in known:
        raise InputError(
            f"A model whose input is of {model.input.dtype.name} takes pixels; got {name!r}: "
            "leave it out."
        )
    return known[name]


def find(
    model: tf.keras.Model, preprocessing: Preprocessing, images: np.ndarray, labels: np.ndarray
) -> tuple[Preprocessing, str]:
    """The kind with which a model is right most often, and how that was found.

    # Arguments
        model: A trained classifier.
        preprocessing: Of the data set.
        images: Some of its test pictures, in uint8.
        labels: Their classes.

    # Raises
        InputError: if none stands out.
    """
    if _takes_integers(model):
        kind = kinds(preprocessing, integers=True)["pixels"]
        return kind, f"It takes pixels, as its input is of {model.input.dtype.name}."
    known = kinds(preprocessing)
    known = {name: kind for name, kind in known.items() if kind not in _before(known, name)}
    weights = _weights(labels)
    right = {
        name: model.predict(kind.normalize(images), verbose=0).argmax(-1) == labels
        for name, kind in known.items()
    }
    shares = {name: float(weights @ hits) for name, hits in right.items()}
    told = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    best = max(shares, key=lambda name: shares[name])
    others = [hits for name, hits in right.items() if name != best]
    if not all(_stands_out(right[best], hits, weights) for hits in others):
        raise InputError(
            "What a model takes must be known; it has no card, and its accuracy on "
            f"{len(labels)} test pictures does not tell ({told}): give it with --input, or more "
            "--pictures."
        )
    return known[best], f"It takes {best} pictures, by its accuracy on {len(labels)}: {told}."


def _takes_integers(model: tf.keras.Model) -> bool:
    return any(not x.dtype.is_floating for x in model.inputs or ())


def _before(known: dict[str, Preprocessing], name: str) -> list[Preprocessing]:
    names = list(known)
    return [known[other] for other in names[: names.index(name)]]


def _weights(labels: np.ndarray) -> np.ndarray:
    """Of each picture, so that all classes count alike: else a constant answer might stand out."""
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return 1 / (counts[classes] * len(counts))


def _stands_out(best: np.ndarray, other: np.ndarray, weights: np.ndarray) -> bool:
    differences = weights * (best.astype(float) - other)
    return bool(differences.sum() > _SIGMAS * np.sqrt((differences**2).sum()))
