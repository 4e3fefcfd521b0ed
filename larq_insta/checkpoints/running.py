"""Runs checkpoints, as `larq_insta_runtime` runs converted files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from larq_insta.checkpoints import keras_files
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.running import checked_answers, checked_images


class KerasModel:
    """A checkpoint behind the same interface as `LiteModel`.

    # Raises
        InputError: if the file is missing, damaged, or not written by larq_insta.
    """

    def __init__(self, path: Path) -> None:
        self.network = keras_files.load(path)
        card = Card.read(path)
        if card is None:
            raise InputError(
                f"{path} carries no class names and preprocessing: use a checkpoint that "
                "`larq-insta train` wrote."
            )
        card.check_network(self.network.input_shape, self.network.output_shape, str(path))
        self.card = card

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities `(images, classes)` for images of `(images, h, w, c)`.

        They are normalized, or pixels in uint8, which are normalized as the card says.

        # Raises
            InputError: if they are of another shape, or they or the answers not finite.
        """
        images = checked_images(images, self.network.input_shape[1:], self.card.preprocessing)
        if not len(images):  # on which TensorFlow's rewriting of graphs stumbles
            return np.zeros((0, *self.network.output_shape[1:]), np.float32)
        return checked_answers(self.network.predict_on_batch(images))

    def close(self) -> None:
        """Nothing: it has no processes of its own."""
