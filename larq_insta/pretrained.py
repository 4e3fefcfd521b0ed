"""The trained model that comes with the package: `weights="fashion_mnist"`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_insta.card import Card
from larq_insta.errors import InputError

FOLDER = Path(__file__).parent / "trained"
MODELS = {"fashion_mnist": "InstaResNet18"}
"""Whose weights each name means. `studies/fashion_mnist/` tells how they were made."""

_FREE = {"weights", "include_top", "input_shape", "input_tensor"}
"""Arguments of a model with any value of which its weights are of use."""


def checkpoint(name: str) -> Path:
    return FOLDER / f"{name}.keras"


def converted(name: str) -> Path:
    return FOLDER / f"{name}.tflite"


def find(path: Path) -> Path:
    """The converted file of a trained model if `path` is its name, else `path` itself."""
    return converted(str(path)) if str(path) in MODELS and not path.exists() else path


def takes_names(function: Callable[..., tf.keras.Model]) -> Callable[..., tf.keras.Model]:
    """Lets a model function take the name of a trained model as `weights`.

    What it was trained with becomes the default of the other arguments, and what else is
    asked for is refused.
    """

    @functools.wraps(function)
    def build(**arguments: Any) -> tf.keras.Model:
        name = arguments.get("weights")
        if not isinstance(name, str) or name not in MODELS:
            return function(**arguments)
        if MODELS[name] != function.__name__:
            raise ValueError(
                f"The weights {name!r} are of {MODELS[name]}; got {function.__name__}: use "
                "that, or weights=None."
            )
        return function(**_completed(name, arguments))

    return build


def _completed(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
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
