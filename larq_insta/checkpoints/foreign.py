"""What checkpoints of Larq Zoo's models name, for Keras to find it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import larq_zoo.sota  # noqa: F401  (registers its functions)
import tensorflow as tf
from larq_zoo.literature import densenet  # (as all of its package do)

from larq_insta.compat import keras_module

tf.keras.utils.get_custom_objects()["BinaryDenseNet"] = densenet.BinaryDenseNet


@contextmanager
def functions_by_name() -> Iterator[None]:
    """For a time Keras reads registered functions in `.h5` files by their names alone.

    It writes more of them, which Larq and Keras's own initializers cannot read.
    """
    model_config = keras_module("src.saving.legacy.model_config")
    original = model_config.model_from_config
    model_config.model_from_config = lambda config, **kwargs: original(_named(config), **kwargs)
    try:
        yield
    finally:
        model_config.model_from_config = original


def _named(config: Any) -> Any:
    if isinstance(config, dict):
        if config.get("class_name") == "function" and isinstance(config.get("config"), str):
            return config["config"]
        return {key: _named(value) for key, value in config.items()}
    return [_named(part) for part in config] if isinstance(config, list) else config
