"""What a training starts from, if not from random weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_insta.checkpoints import keras_files, reactnet
from larq_insta.data.naming import composed, listed
from larq_insta.layers.channelwise import InstanceAware
from larq_insta.lite.card import Card
from larq_insta.lite.errors import InputError

_OF_STEP = ("binary",)  # arguments that each training step sets itself


@dataclass(frozen=True)
class InitialWeights:
    """A checkpoint of ours, or a published ReActNet's for PyTorch.

    `arguments` are those that a model must have for them, `class_names` what it told apart, if
    that is known.
    """

    path: Path
    arguments: dict[str, Any]
    class_names: tuple[str, ...] | None = None

    @classmethod
    def find(cls, path: Path) -> InitialWeights:
        """# Raises
        InputError: if there is no such file, or it is of an unknown kind.
        """
        if not path.is_file():
            raise InputError(f"Initial weights must be a file; got {str(path)!r}: check the path.")
        if not _is_keras(path):
            return cls(path, dict(reactnet.ARGUMENTS))
        card = Card.read(path)
        if card is None:
            return cls(path, {})
        arguments = {k: x for k, x in card.model_arguments.items() if k not in _OF_STEP}
        return cls(path, arguments, card.class_names)

    def remarks(self, class_names: Sequence[str]) -> Iterator[str]:
        """What a user should know who trains on these classes."""
        names = self.class_names
        if names and [*map(composed, names)] != [*map(composed, class_names)]:
            yield (
                f"The classifier of {self.path} told apart {listed(names)}; it learns "
                f"{listed(class_names)} from there."
            )

    def load_into(self, model: tf.keras.Model) -> None:
        """Sets all weights; instance-aware layers may have more than the file's static ones.

        # Raises
            InputError: if weights do not fit.
        """
        if not _is_keras(self.path):
            reactnet.load_reactnet(model, self.path)
            return
        new = [layer.name for layer in model.layers if isinstance(layer, InstanceAware)]
        keras_files.hand_over(keras_files.load(self.path), model, may_be_new=new)


def _is_keras(path: Path) -> bool:
    return path.suffix in (".keras", ".h5")
