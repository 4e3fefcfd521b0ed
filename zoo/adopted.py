"""What makes a network of Larq Zoo's one of ours."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Annotated, Any

import tensorflow as tf
from larq_zoo.core.model_factory import ModelFactory
from zookeeper import Field

from larq_insta.rewriting.forms import BINARY, formed
from larq_insta.rewriting.rebuilding import Change, Layer
from larq_insta.zoo.arguments import (
    check_choices,
    check_classes,
    check_weights,
    input_shape,
    load_weights,
)
from larq_insta.zoo.foreign import by_options, parameters_of
from larq_insta.zoo.options import AwareOptions, CommonOptions, fields_of
from larq_insta.zoo.pretrained import HEAD, PROBABILITIES
from larq_insta.zoo.signs import takes_sign
from larq_insta_runtime.errors import InputError, first_line

_STEM_STRIDES = 4
"""By how much Larq Zoo's stems make maps smaller."""


@dataclass(frozen=True, kw_only=True)
class AdoptedOptions(AwareOptions, CommonOptions):
    """What instance-aware forms of Larq Zoo's networks take."""

    weights: Annotated[
        str | None,
        '`None` (random initialization), `"imagenet"` (Larq Zoo\'s published weights, which its '
        "own loader fetches; the network then answers as Larq Zoo's, until it is trained), or the "
        "path of a weights file of this model. With another number of classes the classifier is "
        "new, and a warning says so.",
    ] = None
    stem: Annotated[
        str,
        "`\"imagenet\"`, Larq Zoo's, which makes maps of a quarter of the picture's height and "
        'width, or `"small"`, the same without strides and pooling, for small pictures.',
    ] = "imagenet"
    prelu: Annotated[
        Mapping[str, Any] | None,
        'Which parameters of PReLUs are instance-aware, `{"instance_aware": ("gamma",)}` by '
        'default; `{"instance_aware": ()}` leaves them as they are.',
    ] = None


@fields_of(AwareOptions, CommonOptions)
class AdoptedFactory(ModelFactory):
    """Builds a network of Larq Zoo's, gives its layers stable names, and makes it instance-aware.

    Subclasses give `model_name`, `static` and `names`.
    """

    model_name: str = Field()

    def static(self, **arguments: Any) -> tf.keras.Model:
        """Larq Zoo's network, of Larq Zoo's arguments."""
        raise NotImplementedError

    def names(self, layers: Sequence[Layer]) -> Iterator[str]:
        """A name for each of its layers but the input and the classifier."""
        raise NotImplementedError

    def build(self) -> tf.keras.Model:
        self._check()
        shape = input_shape(self.input_shape, self.input_tensor, self.stem) or (224, 224, 3)
        static = self._loaded(shape)
        model = formed(
            static,
            change=self._adapting(static),
            inputs=tf.keras.Input(shape),
            name=self.model_name,
        )
        model = by_options(
            model,
            plus=self.plus,
            insta_blocks=self.insta_blocks,
            reuse_statistics=self.reuse_statistics,
            threshold=self.threshold,
            prelu=self.prelu,
        )
        if self.binary != "both" or self.input_tensor is not None:
            model = formed(model, binary=self.binary, inputs=self.input_tensor)
        if self.weights not in (None, "imagenet"):
            load_weights(model, self.weights)
        return model

    def _check(self) -> None:
        check_choices(self, {"stem": ("imagenet", "small"), "binary": BINARY})
        check_classes(self.num_classes)
        if self.weights != "imagenet":
            check_weights(self.weights, "'imagenet'")
        parameters_of(self.prelu)

    def _loaded(self, shape: tuple[int | None, ...]) -> tf.keras.Model:
        """Larq Zoo's network for maps as ours has them behind the stem."""
        *sizes, channels = shape
        if self.stem == "small":
            sizes = [size and _STEM_STRIDES * size for size in sizes]
        arguments = {"num_classes": self.num_classes, "include_top": self.include_top}
        model = self.static(input_shape=(*sizes, channels), **arguments)
        if self.weights == "imagenet":
            model.set_weights(self._published(arguments).get_weights())
        return model

    def _published(self, arguments: dict[str, Any]) -> tf.keras.Model:
        try:
            return self.static(weights="imagenet", **arguments)
        except Exception as error:
            raise InputError(
                f"Larq Zoo's weights of {self.model_name} could not be loaded "
                f"({first_line(error)}): check the network, or use weights=None."
            ) from error

    def _adapting(self, static: tf.keras.Model) -> Change:
        body = [
            layer for layer in static.layers if not isinstance(layer, tf.keras.layers.InputLayer)
        ]
        ends = {}
        if self.include_top:
            *body, logits, probabilities = body
            ends = {logits: HEAD, probabilities: PROBABILITIES}
        named = {**dict(zip(body, self.names(body), strict=True)), **ends}
        before_signs = set(takewhile(lambda layer: not takes_sign(layer), body))

        def change(layer: Layer, config: dict[str, Any]) -> None:
            config["name"] = named[layer]
            if self.stem == "small" and layer in before_signs and "strides" in config:
                config["strides"] = (1, 1)

        return change
