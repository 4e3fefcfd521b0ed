"""Checkpoints of the trained models in the package: `weights="fashion_mnist"`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from larq_insta.lite.card import Card
from larq_insta.lite.errors import InputError
from larq_insta.lite.packaged import MODELS

FOLDER = Path(__file__).parent / "trained"

_FREE = {"weights", "include_top", "input_shape", "input_tensor"}
"""Arguments of a model with any value of which its weights are of use."""


def checkpoint(name: str) -> Path:
    return FOLDER / f"{name}.keras"


def completed(model: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for the model function called `model`.

    Where `weights` are a trained model's name, what that was trained with becomes the default
    of the other arguments, and what else is asked for is refused.
    """
    name = arguments.get("weights")
    if not isinstance(name, str) or name not in MODELS:
        return dict(arguments)
    if MODELS[name] != model:
        raise ValueError(
            f"The weights {name!r} are of {MODELS[name]}; got {model}: use that, or weights=None."
        )
    card = Card.read(checkpoint(name))
    if card is None:
        raise InputError(f"{checkpoint(name)} carries no card: install larq-insta again.")
    trained = dict(card.model_arguments)
    for key in set(arguments) - _FREE:
        if key not in trained or _plain(arguments[key]) != _plain(trained[key]):
            needed = repr(trained[key]) if key in trained else "left out"
            raise ValueError(
                f"`{key}` must be {needed} with weights={name!r}; got {arguments[key]!r}: leave "
                "it out, or train with it."
            )
    if arguments.get("input_tensor") is not None:
        del trained["input_shape"]
    return {**trained, **arguments, "weights": str(checkpoint(name))}


def _plain(value: Any) -> Any:
    """Without the difference of lists and tuples, which JSON does not know."""
    return list(value) if isinstance(value, tuple) else value
