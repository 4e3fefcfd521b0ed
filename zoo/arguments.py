"""Whether arguments of models can be meant, and weights that they name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_insta_runtime import packaged
from larq_insta_runtime.errors import first_line


def check_choices(values: Any, choices: Mapping[str, Sequence[str]]) -> None:
    """# Raises
    ValueError: if an attribute of `values` is none of its choices.
    """
    for name, known in choices.items():
        value, told = getattr(values, name), [repr(choice) for choice in known]
        if value not in known:
            raise ValueError(
                f"`{name}` must be {', '.join(told[:-1])} or {told[-1]}; got {value!r}."
            )


def input_shape(
    shape: Sequence[int | None] | None, tensor: Any, stem: str
) -> tuple[int | None, ...] | None:
    """`(height, width, channels)` that a model takes, of two arguments that tell it.

    # Raises
        ValueError: if it is none, or too small.
    """
    if tensor is not None:
        if not tf.is_tensor(tensor):
            raise ValueError(f"`input_tensor` must be a tensor; got {type(tensor).__name__}.")
        shape = tuple(tensor.shape[1:])
    if shape is None:
        return None
    if len(shape) != 3 or (shape[-1] or 0) < 1:
        raise ValueError(
            f"`input_shape` must be (height, width, channels) with channels known; got {shape}."
        )
    smallest = 32 if stem == "imagenet" else 8
    if any(size is not None and size < smallest for size in shape[:2]):
        raise ValueError(
            f"Images must have at least {smallest} x {smallest} pixels with stem={stem!r}; got "
            f"input shape {shape}" + (": use stem='small'." if stem == "imagenet" else ".")
        )
    return tuple(shape)


def check_filters(filters: Any) -> None:
    """# Raises
    ValueError: if they are no widths.
    """
    if not filters or not all(isinstance(x, Integral) and int(x) > 0 for x in filters):
        raise ValueError(f"`filters` must be positive numbers; got {filters}.")


def check_classes(count: int) -> None:
    """# Raises
    ValueError: if a model cannot have so many.
    """
    if count < 1:
        raise ValueError(f"`num_classes` must be at least 1; got {count}.")


def check_weights(weights: str | None, known: str = "") -> None:
    """# Raises
    ValueError: if they are no file; `known` names what they may be besides.
    """
    if weights is not None and not Path(weights).is_file():
        raise ValueError(
            f"`weights` must be None, {known or TRAINED} or the path of a weights file; got "
            f"{weights!r}, which {'is a folder' if Path(weights).is_dir() else 'does not exist'}."
        )


TRAINED = f"a trained model's name ({', '.join(packaged.MODELS)})"


def load_weights(model: tf.keras.Model, weights: str) -> None:
    """# Raises
    ValueError: if they are not those of this model.
    """
    try:
        model.load_weights(weights)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"`weights` must be a file of this model's weights; got {weights!r} "
            f"({first_line(error)}): use the arguments that it was saved with."
        ) from error
