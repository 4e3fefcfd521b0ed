"""The interpreter of converted files, LiteRT's with our delegate; and their format's schema."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema

from larq_insta_runtime.delegate import load_delegate, saved_bytes
from larq_insta_runtime.errors import InputError, first_line

__all__ = ["IDENTIFIER", "Interpreter", "has_larq_operators", "schema"]

IDENTIFIER = b"TFL3"
_CUSTOM_NAMES = b"Lce"  # of Larq Compute Engine's operators


class Interpreter:
    """Runs the content of a `.tflite` file.

    # Arguments
        content: The content. Strangers' must have passed `checks.check`.
        num_threads: Threads of one inference.

    # Raises
        InputError: if it cannot be run here.
    """

    def __init__(self, content: bytes, num_threads: int = 1) -> None:
        if content[4:8] != IDENTIFIER:
            raise InputError("LiteRT cannot load the model: it is no TFLite file.")
        # Only where it is needed: other files run without the native library, too.
        self._delegates = [load_delegate()] if has_larq_operators(content) else None
        try:
            self._litert = litert.Interpreter(
                model_content=content,
                experimental_delegates=self._delegates,
                num_threads=num_threads,
            )
            self._litert.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise InputError(f"LiteRT cannot load the model: {first_line(error)}") from error
        self._inputs = [entry["index"] for entry in self._litert.get_input_details()]
        self._outputs = [entry["index"] for entry in self._litert.get_output_details()]

    @property
    def saved_bytes(self) -> int:
        """What operators that are no convolutions move less in the delegate's passes than alone."""
        return sum(map(saved_bytes, self._delegates or ()))

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """One inference: the outputs for inputs of the file's own shapes and types.

        # Raises
            RuntimeError, ValueError: if they are of others, or it fails.
        """
        self.give(inputs)
        self.invoke()
        return [self._litert.get_tensor(index) for index in self._outputs]

    def give(self, inputs: list[np.ndarray]) -> None:
        """Sets the inputs, of the file's own shapes and types, of all inferences to come.

        # Raises
            ValueError: if they are of others.
        """
        for index, values in zip(self._inputs, inputs, strict=True):
            self._litert.set_tensor(index, values)

    def invoke(self) -> None:
        """One inference of the inputs given."""
        self._litert.invoke()

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The file's one output `(images, ...)` for `images`."""
        return np.concatenate([self.run([image[None]])[0] for image in images])


def has_larq_operators(content: bytes) -> bool:
    """Whether a file needs the native library."""
    model = schema.Model.GetRootAs(content, 0)
    codes = (model.OperatorCodes(i).CustomCode() for i in range(model.OperatorCodesLength()))
    return any(name and name.startswith(_CUSTOM_NAMES) for name in codes)
