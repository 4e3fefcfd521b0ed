"""What is to be trained: a model by its name, or the classifier in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_insta import models
from larq_insta.checkpoints import keras_files
from larq_insta.checkpoints.initial import origin
from larq_insta.data.dataset import ImageDataset
from larq_insta.data.preprocessing import kinds, photo_view
from larq_insta.rewriting import heads
from larq_insta.rewriting.forms import formed
from larq_insta.zoo.foreign import by_options
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError, first_line

SUFFIXES = (".keras", ".h5")
_AWARE = ("plus", "insta_blocks", "reuse_statistics", "threshold", "prelu")
_ARGUMENTS = ("instance_aware", "binary", "input", *_AWARE)


def default_stem(input_shape: Sequence[int]) -> str:
    """The stem of a model for pictures of this shape, if none is asked for."""
    return "small" if input_shape[0] <= 64 else "imagenet"


def find(name: str) -> Network:
    """A model by its name, or the file of that name.

    # Raises
        InputError: if there is neither.
    """
    if not name.endswith(SUFFIXES):
        models.get(name)
        return Network(name)
    return FileNetwork(name)


@dataclass(frozen=True)
class Network:
    """A model of ours.

    # Attributes
        name: Of the model, or the path of a file.
    """

    name: str
    has_layers = False  # of its own, so that it takes no arguments from files of weights

    @property
    def title(self) -> str:
        return self.name

    def settings(self, size: int | None, channels: int | None) -> dict[str, Any]:
        """Arguments of `data.load`, of those that a user gave, for what it takes.

        # Raises
            InputError: if it takes no such pictures.
        """
        return {"image_size": size, "channels": channels}

    def fed(self, dataset: ImageDataset, _arguments: Mapping[str, Any]) -> ImageDataset:
        """A data set whose pictures are normalized as it takes them."""
        return dataset

    def build(
        self, input_shape: tuple[int, ...], classes: int, arguments: Mapping[str, Any]
    ) -> tf.keras.Model:
        """A new one for pictures of this shape; small pictures get the small stem.

        # Raises
            InputError: if it cannot be built so.
        """
        settings = {
            "input_shape": input_shape,
            "num_classes": classes,
            "stem": default_stem(input_shape),
            **arguments,
        }
        return models.build(self.name, settings)

    def remark(self, class_names: Sequence[str]) -> str | None:  # noqa: ARG002
        """What a user should know who trains it on these classes."""
        return None

    def has_new_head(self, classes: int) -> bool:  # noqa: ARG002
        """Whether its classifier does not know anything, though all else does."""
        return False


class FileNetwork(Network):
    """The classifier in a `.keras` or `.h5` file, of any layers of Larq's, Keras's or ours."""

    has_layers = True

    @cached_property
    def _model(self) -> tf.keras.Model:
        model = keras_files.load(Path(self.name))
        ends = len(model.inputs or ()), len(model.outputs or ())
        if ends != (1, 1) or model.inputs[0].shape.rank != 4:
            raise InputError(
                "A classifier to train must take one batch of pictures and give one of answers; "
                f"{self.name} has {ends[0]} inputs and {ends[1]} outputs: build it with one of "
                "each."
            )
        return model

    @cached_property
    def _card(self) -> Card | None:
        return Card.read(Path(self.name)) if self.name.endswith(".keras") else None

    @property
    def title(self) -> str:
        return str(self._model.name)

    def settings(self, size: int | None, channels: int | None) -> dict[str, Any]:
        height, width, colours = self._model.input_shape[1:]
        if height != width:
            raise InputError(
                f"A classifier to train must take square pictures; {self.name} takes "
                f"{height} x {width}: build it for those."
            )
        size = size or height
        if self._card is not None:
            prepared = self._card.preprocessing
            return {"prepared": replace(prepared, size=size or prepared.size)}
        like = {} if size is None else {"like": photo_view(size, colours)}
        return {"image_size": size, "channels": channels, **like}

    def fed(self, dataset: ImageDataset, arguments: Mapping[str, Any]) -> ImageDataset:
        integers = not self._model.inputs[0].dtype.is_floating
        known = kinds(dataset.preprocessing, integers)
        kind = arguments.get("input") or next(iter(known))
        if kind not in known or (self._card and "input" in arguments):
            raise InputError(
                f"What a model takes is {', '.join(known)}, where its card does not say it; got "
                f"{kind!r} for {self.name}: leave it out."
            )
        if self._card is not None:
            return dataset
        plain = dataset.uncached and replace(dataset.uncached, preprocessing=known[kind])
        return replace(dataset, preprocessing=known[kind], uncached=plain)

    def build(
        self, input_shape: tuple[int, ...], classes: int, arguments: Mapping[str, Any]
    ) -> tf.keras.Model:
        """A copy with the file's weights, in the form that `arguments` say."""
        foreign = sorted(set(arguments) - set(_ARGUMENTS))
        if foreign:
            raise InputError(
                f"A model from a file has its layers, and takes {', '.join(_ARGUMENTS)}; got "
                f"{', '.join(foreign)}: leave it out, or give a model's name."
            )
        own = self._model.input_shape[1:]
        if any(a not in (None, b) for a, b in zip(own, input_shape, strict=True)):
            raise InputError(
                f"Pictures must be of the shape that the model takes; {self.name} takes {own}, the "
                f"data set gives {input_shape}: choose another data set or image size."
            )
        try:
            model = self._aware(arguments)
            model = formed(model, binary=arguments.get("binary", "both"), classes=classes)
            heads.logits(model)  # raises now, and not when a training has begun
            return model
        except (TypeError, ValueError) as error:
            raise InputError(first_line(error)) from error

    def _aware(self, arguments: Mapping[str, Any]) -> tf.keras.Model:
        given = {name: arguments[name] for name in _AWARE if arguments.get(name) is not None}
        if not arguments.get("instance_aware"):
            if given:
                raise InputError(
                    "Settings of thresholds are of models to be made instance-aware; got "
                    f"{', '.join(given)} for {self.name}: add --instance-aware."
                )
            return self._model
        return by_options(self._model, **given)

    def remark(self, class_names: Sequence[str]) -> str | None:
        names = self._card.class_names if self._card else ()
        return origin(self.name, names, class_names, self.has_new_head(len(class_names)))

    def has_new_head(self, classes: int) -> bool:
        return bool(self._model.output_shape[-1] != classes)
