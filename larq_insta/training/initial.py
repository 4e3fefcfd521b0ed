"""What a training starts from, if not from random weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_insta.checkpoints import keras_files, reactnet
from larq_insta.layers.channelwise import InstanceAware
from larq_insta.lite.card import Card
from larq_insta.lite.errors import InputError

_OF_STEP = ("binary",)  # arguments that each training step sets itself


@dataclass(frozen=True)
class InitialWeights:
    """A checkpoint of ours, or a published ReActNet's for PyTorch.

    `arguments` are those that a model must have for them.
    """

    path: Path
    arguments: dict[str, Any]

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
        arguments = {} if card is None else card.model_arguments
        return cls(path, {name: x for name, x in arguments.items() if name not in _OF_STEP})

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
