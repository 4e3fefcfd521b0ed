"""Public door to running models: converted files and, where TensorFlow is, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from larq_insta_runtime import packaged
from larq_insta_runtime.engine import Interpreter
from larq_insta_runtime.preprocessing import Preprocessing
from larq_insta_runtime.running import LiteModel, accuracy, answer, open_file, read_content

if TYPE_CHECKING:
    from larq_insta.checkpoints.running import KerasModel

__all__ = [
    "Interpreter",
    "KerasModel",
    "LiteModel",
    "accuracy",
    "answer",
    "open_model",
    "read_content",
    "read_picture",
]


def __getattr__(name: str) -> Any:
    if name != "KerasModel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from larq_insta.checkpoints.running import KerasModel  # which imports TensorFlow

    return KerasModel


def open_model(path: Path, processes: int = 0) -> LiteModel | KerasModel:
    """A model file of either kind, told by its name, or the package's trained model.

    # Arguments
        path: The file, or the trained model's name.
        processes: Of a `LiteModel`.

    # Raises
        InputError: if it cannot be used.
    """
    path = packaged.find(path)
    if path.suffix == ".tflite" or not path.exists():
        return open_file(path, processes)
    from larq_insta.checkpoints.running import KerasModel

    return KerasModel(path)


def read_picture(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """A picture file as a normalized image `(h, w, c)`; for kinds of files see `pictures.read`.

    # Raises
        InputError: if it is no picture.
    """
    return preprocessing.read(path)
