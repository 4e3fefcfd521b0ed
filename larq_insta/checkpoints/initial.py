"""What a training starts from, if not from random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_insta.checkpoints import keras_files, reactnet
from larq_insta.layers.channelwise import InstanceAware
from larq_insta.rewriting import heads
from larq_insta.zoo import pretrained
from larq_insta_runtime import packaged
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.naming import composed, listed
from larq_insta_runtime.preprocessing import Preprocessing

_OF_TRAINING = ("binary", "input_shape", "num_classes")
"""Arguments that each training sets itself."""


@dataclass(frozen=True)
class InitialWeights:
    """A checkpoint of ours, or a published ReActNet's for PyTorch.

    `arguments` are those that a model must have for them; `class_names` what it told apart and
    `preprocessing` how it takes pictures, if that is known.
    """

    path: Path
    arguments: dict[str, Any]
    class_names: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None

    @classmethod
    def find(cls, name: str | None) -> InitialWeights | None:
        """A trained model by its name, or a file.

        # Raises
            InputError: if there is no such file, or it is of an unknown kind.
        """
        if name is None:
            return None
        path = pretrained.find(Path(name))
        if not path.is_file():
            raise InputError(
                f"Initial weights must be a file; got {name!r}: check the path, or give a trained "
                f"model's name ({', '.join(packaged.MODELS)})."
            )
        if not _is_keras(path):
            return cls(path, dict(reactnet.ARGUMENTS))
        card = Card.read(path)
        if card is None:
            return cls(path, {})
        arguments = {k: x for k, x in card.model_arguments.items() if k not in _OF_TRAINING}
        return cls(path, arguments, card.class_names, card.preprocessing)

    def remark(self, class_names: Sequence[str], new_head: bool) -> str:
        """What a user should know who trains on these classes."""
        return origin(str(self.path), self.class_names or (), class_names, new_head)

    def load_into(self, model: tf.keras.Model) -> bool:
        """Sets all weights, but those of a classifier of another number of classes.

        Instance-aware layers may have more weights than the file's static ones.

        # Returns
            Whether the classifier stays as it is.

        # Raises
            InputError: if weights do not fit.
        """
        classes = model.output_shape[-1]
        if not _is_keras(self.path):
            new_head = reactnet.classes(self.path) not in (None, classes)
            reactnet.load_reactnet(model, self.path, new_head=new_head)
            return new_head
        source, head = keras_files.load(self.path), heads.head(model).name
        known = source.output_shape[-1] if head in {x.name for x in source.layers} else None
        new_head = known != classes
        more = [layer.name for layer in model.layers if isinstance(layer, InstanceAware)]
        keras_files.hand_over(source, model, more, new=(head,) if new_head else ())
        return new_head


def origin(path: str, names: Sequence[str], class_names: Sequence[str], new_head: bool) -> str:
    """Says where weights come from; `names` are those that their classifier told apart."""
    if new_head:
        told = f", which told apart {listed(names)}" if names else ""
        return (
            f"The classifier is new, for {len(class_names):,} classes; all other weights are those "
            f"of {path}{told}."
        )
    if names and [*map(composed, names)] != [*map(composed, class_names)]:
        return (
            f"The classifier of {path} told apart {listed(names)}; it learns "
            f"{listed(class_names)} from there."
        )
    return f"All weights are those of {path}."


def _is_keras(path: Path) -> bool:
    return path.suffix in (".keras", ".h5")
