"""The interpreter of converted files and the schema of their format, chosen here alone.

They are two modules of Larq Compute Engine, loaded from their files: its package would import
TensorFlow.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from larq_insta.lite.errors import InputError, first_line

__all__ = ["Interpreter", "schema"]

_PACKAGE = "larq_compute_engine"


def _load(module: str) -> ModuleType:
    full_name = f"{_PACKAGE}.{module}"
    if full_name in sys.modules:  # a compiled module must not be loaded twice
        return sys.modules[full_name]
    package = importlib.util.find_spec(_PACKAGE)
    folder, _, name = module.rpartition(".")
    for place in (package and package.submodule_search_locations) or ():
        for path in Path(place, *folder.split(".")).glob(f"{name}.*"):
            spec = importlib.util.spec_from_file_location(full_name, path)
            if spec and spec.loader:
                loaded = sys.modules[full_name] = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(loaded)
                return loaded
    raise ModuleNotFoundError(f"{full_name} must be installed: install larq-insta again.")


if TYPE_CHECKING:
    from larq_compute_engine.mlir.python import tflite_schema as schema
else:
    schema = _load("mlir.python.tflite_schema")


@cache
def _wrapper() -> ModuleType:
    return _load("tflite.python.interpreter_wrapper_lite")


class Interpreter:
    """Runs the content of a `.tflite` file, with the fastest kernels on x86.

    # Arguments
        content: The content.
        num_threads: Threads of one inference.
        xnnpack: Whether XNNPACK computes the float operators.

    # Raises
        InputError: if the model cannot be loaded.
    """

    def __init__(self, content: bytes, num_threads: int = 1, xnnpack: bool = False) -> None:
        indirect = num_threads == 1
        try:
            self._wrapped = _wrapper().LiteInterpreter(
                content, num_threads, False, indirect, xnnpack
            )
        except RuntimeError as error:
            raise InputError(
                f"Larq Compute Engine's interpreter cannot load the model: {first_line(error)}"
            ) from error

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """One inference: the outputs for inputs of the file's own shapes and types.

        # Raises
            RuntimeError, ValueError: if they are of others, or it fails.
        """
        # What came through a pipe has a copy of the type, and the interpreter wants the original.
        return self._wrapped.predict([x.view(np.dtype(x.dtype.name)) for x in inputs])

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The file's one output `(images, ...)` for `images`."""
        (output,) = self.predict_all(images)
        return output

    def predict_all(self, images: np.ndarray) -> list[np.ndarray]:
        """All outputs, each `(images, ...)`."""
        answers = [self.run([image[None]]) for image in images]
        return [np.concatenate(parts) for parts in zip(*answers, strict=True)]
