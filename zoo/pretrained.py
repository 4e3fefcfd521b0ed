"""Checkpoints of the trained models in the package, such as `weights="imagenette"`."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import tensorflow as tf

from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.packaged import MODELS

FOLDER = Path(__file__).parent / "trained"

_FREE = {"weights", "include_top", "input_shape", "input_tensor", "num_classes"}
"""Arguments of a model with any value of which its weights are of use."""

HEAD = "head_logits"
"""The layer whose weights are of no use for other classes."""

PROBABILITIES = "head_probs"
_IMAGENET_CLASSES = 1000


def checkpoint(name: str) -> Path:
    return FOLDER / f"{name}.keras"


def find(path: Path) -> Path:
    """A trained model's checkpoint if `path` is its name, else `path` itself."""
    return checkpoint(str(path)) if str(path) in MODELS else path


def classes(weights: str | None) -> int | None:
    """How many a file of weights tells apart; `None` if it does not say, or there is none."""
    if weights == "imagenet":
        return _IMAGENET_CLASSES
    with suppress(OSError, ValueError, TypeError):
        card = Card.read(Path(weights or "")) if zipfile.is_zipfile(weights or "") else None
        if card is not None:
            return len(card.class_names)
        with h5py.File(weights) as file:
            return file.visititems(lambda name, part: part.size if _is_bias(name, part) else None)
    return None


def _is_bias(name: str, part: Any) -> bool:
    of_head = HEAD in name or name.startswith(("layers/dense/", "layers/quant_dense/"))
    return of_head and isinstance(part, h5py.Dataset) and part.ndim == 1


def with_new_head(
    build: Callable[[dict[str, Any]], tf.keras.Model], arguments: dict[str, Any], known: int
) -> tf.keras.Model:
    """A model with weights that tell `known` other classes apart, but for its classifier."""
    source = build({**arguments, "num_classes": known})
    model = build({**arguments, "weights": None})
    for layer in model.layers:
        if layer.weights and layer.name != HEAD:
            layer.set_weights(source.get_layer(layer.name).get_weights())
    warnings.warn(
        f"The classifier of {model.name} is new, for {model.output_shape[-1]:,} classes; all other "
        f"weights are those of {arguments['weights']}, which tells {known:,} apart.",
        stacklevel=4,
    )
    return model


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
