"""Public door to the models."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from larq_insta.zoo.mobilenet_v1 import (
    InstaMobileNetV1,
    InstaMobileNetV1Factory,
    ReActNetA,
    ReActNetAFactory,
)
from larq_insta.zoo.quicknet import InstaQuickNet, InstaQuickNetFactory
from larq_insta.zoo.real_to_binary import InstaRealToBinary, InstaRealToBinaryFactory
from larq_insta.zoo.resnet18 import (
    InstaResNet18,
    InstaResNet18Factory,
    ReActNet18,
    ReActNet18Factory,
)
from larq_insta_runtime.errors import InputError, first_line

__all__ = [
    "MODELS",
    "InstaMobileNetV1",
    "InstaMobileNetV1Factory",
    "InstaQuickNet",
    "InstaQuickNetFactory",
    "InstaRealToBinary",
    "InstaRealToBinaryFactory",
    "InstaResNet18",
    "InstaResNet18Factory",
    "ReActNet18",
    "ReActNet18Factory",
    "ReActNetA",
    "ReActNetAFactory",
    "build",
    "get",
]

MODELS: dict[str, Callable[..., tf.keras.Model]] = {
    model.__name__: model
    for model in (
        InstaResNet18,
        InstaMobileNetV1,
        InstaQuickNet,
        InstaRealToBinary,
        ReActNet18,
        ReActNetA,
    )
}


def get(name: str) -> Callable[..., tf.keras.Model]:
    """The model function called `name`.

    # Raises
        InputError: if there is none of that name.
    """
    if name in MODELS:
        return MODELS[name]
    lower = {known.lower(): known for known in MODELS}
    nearest = difflib.get_close_matches(str(name).lower(), lower, n=1, cutoff=0.4)
    hint = f" Did you mean {lower[nearest[0]]}?" if nearest else ""
    raise InputError(f"Models are {', '.join(MODELS)}; got {name!r}.{hint}")


def build(name: str, arguments: dict[str, Any]) -> tf.keras.Model:
    """The model called `name`.

    # Raises
        InputError: if there is no such model or it does not take these arguments.
    """
    try:
        factory = get(name)
        known = inspect.signature(factory).parameters
        foreign = [argument for argument in arguments if argument not in known]
        if foreign:
            raise InputError(
                f"{name} takes the arguments {', '.join(known)}; got {', '.join(foreign)}."
            )
        return factory(**arguments)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(first_line(error)) from error
