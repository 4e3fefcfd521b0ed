"""A copy of a functional model, in which single calls of layers may become others."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable
from contextlib import nullcontext
from typing import Any, TypeAlias

import tensorflow as tf

from larq_insta.rewriting.flattening import is_functional, walk
from larq_insta_runtime.errors import first_line

Layer: TypeAlias = tf.keras.layers.Layer
Call: TypeAlias = Callable[..., Any]
Change: TypeAlias = Callable[[Layer, dict[str, Any]], None]

_LOSSES = ("AddLoss", "AddMetric")


def unchanged(_layer: Layer, _config: dict[str, Any]) -> None:
    """Leaves the configuration of a layer's copy as it is."""


class Rebuilding:
    """Copies of a model's layers, models among them, each made when it is called first.

    # Arguments
        call: `call(rebuilding, node, *args, **kwargs)` makes what stands for a call of the
            node's layer in the copy; usually `rebuilding.copy(layer)(*args, **kwargs)`.
        change: Changes the configuration of a layer's copy, in place.
        custom: Classes and functions that configurations name.
        fresh: Layers whose copies keep the weights that they begin with.
        opened: Models inside whose layers become layers of the copy.
    """

    def __init__(
        self,
        call: Call,
        change: Change = unchanged,
        custom: Iterable[Any] = (),
        fresh: Collection[Layer] = (),
        opened: Collection[Layer] = (),
    ) -> None:
        self._call = call
        self._opened = opened
        self._change = change
        self._fresh = fresh
        self._custom = {getattr(x, "__name__", type(x).__name__): _kind(x) for x in custom}
        self._copies: dict[Layer, Layer] = {}

    def model(
        self, model: tf.keras.Model, inputs: Any = None, name: str | None = None
    ) -> tf.keras.Model:
        """The copy, with weights and flags of the original.

        It is in the distribution strategy in whose scope this is called, else that of the
        original. `inputs` and `name` may be given to take the place of the original's.

        # Raises
            ValueError: if the model, or a layer of it, cannot be copied.
        """
        given = tf.distribute.has_strategy()
        scope = nullcontext() if given else model.distribute_strategy.scope()
        with scope, tf.keras.utils.custom_object_scope(self._custom):
            copy = self._functional(model, inputs, name)
        copy.trainable = model.trainable
        for layer in model._flatten_layers(include_self=False):  # from outside to inside
            if layer in self._copies:
                _keep_flags(layer, self._copies[layer])
        return copy

    def copy(self, layer: Layer) -> Layer:
        """A layer's copy, which gets its weights as soon as it is called."""
        if layer not in self._copies:
            inner = is_functional(layer)
            self._copies[layer] = self._functional(layer) if inner else self._of_config(layer)
        return self._copies[layer]

    def _functional(
        self, model: tf.keras.Model, inputs: Any = None, name: str | None = None
    ) -> tf.keras.Model:
        if inputs is None:
            inputs = tf.nest.map_structure(_copied_input, model._nested_inputs)

        def call(node: Any, *args: Any, **kwargs: Any) -> Any:
            made = self._call(self, node, *args, **kwargs)
            if node.layer in self._copies and node.layer not in self._fresh:
                _hand_over(node.layer, self._copies[node.layer])
            return made

        outputs = walk(model, tf.nest.flatten(inputs), call, self._opens)
        outputs = tf.nest.pack_sequence_as(model._nested_outputs, outputs)
        return tf.keras.Model(inputs, outputs, name=name or model.name)

    def _opens(self, node: Any) -> bool:
        # In a copy to train `training=False` must stay.
        given_none = all(x is None for x in node.call_kwargs.values())
        return node.layer in self._opened and given_none

    def _of_config(self, layer: Layer) -> Layer:
        try:
            with warnings.catch_warnings():  # as when the original was made
                warnings.simplefilter("ignore")
                config = layer.get_config()
                self._change(layer, config)
                return type(layer).from_config(config)
        except Exception as error:
            # Keras tells all of a configuration before the cause.
            cause = first_line(error.__context__ or error)
            raise ValueError(
                f"Every layer must be one that can be copied; {layer.name} ({_name(layer)}) is not "
                f"({cause}): give its class a `get_config` with all its arguments, and what it "
                "names to tf.keras.utils.register_keras_serializable."
            ) from error


def check_functional(model: Any) -> None:
    """Whether a model's layers can be told.

    # Raises
        ValueError: if not.
    """
    if not isinstance(model, tf.keras.Model):
        raise ValueError(f"A model must be a Keras model; got {type(model).__name__}.")
    if isinstance(model, tf.keras.Sequential) and not model._is_graph_network:
        raise ValueError(
            f"A sequential model must know its input's shape; {model.name} does not: begin it with "
            "tf.keras.Input(shape)."
        )
    if not is_functional(model):
        raise ValueError(
            f"A model must be functional or sequential; {model.name} is {_article(model)}, whose "
            "call is code of its own: build it with tf.keras.Model(inputs, outputs)."
        )
    for layer in model._flatten_layers(include_self=False):
        _check(layer)


def _check(layer: Layer) -> None:
    if isinstance(layer, tf.keras.Model) and not is_functional(layer):
        raise ValueError(
            f"Models inside a model must be functional or sequential; {layer.name} is "
            f"{_article(layer)}, whose call is code of its own: build it with "
            "tf.keras.Model(inputs, outputs)."
        )
    if isinstance(layer, tf.keras.layers.Lambda) and not _of_larq_zoo(layer):
        raise ValueError(
            f"A model must be made of layers; {layer.name} is a Lambda, whose code no file may "
            "hold: write a layer, or call TensorFlow's functions on the tensors themselves."
        )
    if type(layer).__name__ in _LOSSES:
        raise ValueError(
            f"Losses and metrics must be those of layers; {layer.name} comes from "
            "`model.add_loss` or `add_metric`: leave it out, and add it to the copy."
        )
    if getattr(layer, "data_format", None) == "channels_first":
        raise ValueError(
            f"Data must have channels last; layer {layer.name} has data_format='channels_first': "
            "build the model with channels last."
        )


def as_operations(layer: tf.keras.layers.Lambda, x: Any, name: str | None = None) -> Any:
    """What a `Lambda` of Larq Zoo's does, in operations that files may hold."""
    made = layer.function(x)
    if made is not x:
        return made
    return tf.keras.layers.Activation("linear", name=name or layer.name, dtype=layer.dtype)(made)


def _of_larq_zoo(layer: tf.keras.layers.Lambda) -> bool:
    return str(getattr(layer.function, "__module__", "")).startswith("larq_zoo.")


def _copied_input(tensor: Any) -> Any:
    layer = tensor._keras_history.layer
    return type(layer).from_config(layer.get_config()).output


def _hand_over(layer: Layer, copy: Layer) -> None:
    if isinstance(layer, tf.keras.Model):
        return  # its layers have them
    given = weights_but_of(_left_out(layer, copy), layer)
    pairs = list(zip(given, copy.weights, strict=False))
    if len(given) != len(copy.weights) or any(a.shape != b.shape for a, b in pairs):
        raise ValueError(
            f"Every layer must be one that can be copied; {layer.name} ({_name(layer)}) has other "
            "weights than its copy: give its class a `get_config` with all its arguments."
        )
    for weight, made in pairs:
        made.assign(weight)
    copy.finalize_state()  # an adapted Normalization holds constants of its weights


def _left_out(layer: Layer, copy: Layer) -> Layer | None:
    """A layer's quantizer, if its copy has another kind of it."""
    theirs, ours = (getattr(x, "input_quantizer", None) for x in (layer, copy))
    kept = type(theirs) is type(ours) or not isinstance(theirs, tf.keras.layers.Layer)
    return None if kept else theirs


def weights_but_of(part: Layer | None, layer: Layer) -> list[tf.Variable]:
    """A layer's weights without those of a layer inside it, if one is given."""
    inside = part.weights if part else []
    return [weight for weight in layer.weights if not any(weight is other for other in inside)]


def _keep_flags(layer: Layer, copy: Layer) -> None:
    for part, made in zip(layer._flatten_layers(), copy._flatten_layers(), strict=False):
        if not isinstance(part, tf.keras.Model):
            made.trainable = part.trainable


def _kind(custom: Any) -> Any:
    return type(custom) if isinstance(custom, tf.keras.layers.Layer) else custom


def _name(layer: Layer) -> str:
    return type(layer).__name__


def _article(model: tf.keras.Model) -> str:
    name = _name(model)
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
