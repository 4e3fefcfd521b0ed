"""Where a classifier's logits are."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from larq_insta.rewriting.flattening import is_functional
from larq_insta_runtime.errors import InputError

_RESHAPING = (tf.keras.layers.Flatten, tf.keras.layers.Reshape)


def logits(model: tf.keras.Model) -> Any:
    """The tensor `(batch, classes)` that a classifier's softmax at its end reads.

    # Raises
        InputError: if there is none, or it is inside of a model.
    """
    inside = models_at_end(model)
    if inside:
        raise InputError(
            f"A classifier's softmax must be one of its layers; that of {model.name} is inside of "
            f"{inside[0].name}: call that without training=..., or train it alone."
        )
    return _logits(model)


def _logits(model: tf.keras.Model) -> Any:
    layer = last_layer(model)
    if len(model.outputs) != 1 or not _is_softmax(layer) or len(model.output_shape) != 2:
        raise InputError(
            f"A classifier must end with a softmax over its classes; {model.name} ends with "
            f"{layer.name} ({type(layer).__name__}): put tf.keras.layers.Softmax() at its end."
        )
    return layer.input


def head(model: tf.keras.Model) -> tf.keras.layers.Layer:
    """The last layer with weights in front of the logits."""
    end = _logits(model)
    while not end._keras_history.layer.weights:
        layer = end._keras_history.layer
        if not layer.inbound_nodes or len(layer.inbound_nodes[0].keras_inputs) != 1:
            break
        end = layer.inbound_nodes[0].keras_inputs[0]
    return end._keras_history.layer


def models_at_end(model: tf.keras.Model) -> list[tf.keras.Model]:
    """Models inside with which it ends, from outside to inside."""
    layer = _behind_reshaping(model)
    return [layer, *models_at_end(layer)] if is_functional(layer) else []


def last_layer(model: tf.keras.Model) -> tf.keras.layers.Layer:
    """What gives its answers, but for their shape, also inside of a model at its end."""
    return _behind_reshaping([model, *models_at_end(model)][-1])


def ends_with_softmax(layer: tf.keras.layers.Layer) -> bool:
    """Whether a layer with weights has a softmax of its own behind it."""
    own = getattr(layer, "activation", None) is tf.keras.activations.softmax
    return own and not _is_softmax(layer)


def _behind_reshaping(model: tf.keras.Model) -> tf.keras.layers.Layer:
    layer = model.outputs[0]._keras_history.layer
    while isinstance(layer, _RESHAPING):
        layer = layer.input._keras_history.layer
    return layer


def _is_softmax(layer: tf.keras.layers.Layer) -> bool:
    if isinstance(layer, tf.keras.layers.Softmax):
        return layer.axis == -1
    if getattr(layer, "symbol", None) == "nn.softmax":  # TensorFlow's function
        return layer.inbound_nodes[0].call_kwargs.get("axis") in (None, -1)
    is_activation = isinstance(layer, tf.keras.layers.Activation)
    return is_activation and layer.activation is tf.keras.activations.softmax
