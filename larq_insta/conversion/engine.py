"""Larq Compute Engine's own interpreter, by which converted files are verified."""

from __future__ import annotations

import numpy as np
from larq_compute_engine.tflite.python import interpreter_wrapper_lite

from larq_insta_runtime.errors import InputError, first_line


class Interpreter:
    """Runs the content of a `.tflite` file, with the engine's fastest kernels on x86.

    # Raises
        InputError: if it cannot be loaded.
    """

    def __init__(self, content: bytes) -> None:
        try:  # one thread, no reference kernels, indirect ones, no XNNPACK
            self._wrapped = interpreter_wrapper_lite.LiteInterpreter(content, 1, False, True, False)
        except RuntimeError as error:
            raise InputError(
                f"Larq Compute Engine's interpreter cannot load the model: {first_line(error)}"
            ) from error

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """One inference: the outputs for inputs of the file's own shapes and types.

        # Raises
            RuntimeError, ValueError: if they are of others, or it fails.
        """
        return self._wrapped.predict(inputs)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The file's one output `(images, ...)` for `images`."""
        return np.concatenate([self.run([image[None]])[0] for image in images])
