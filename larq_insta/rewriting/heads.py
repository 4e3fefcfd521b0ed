"""Where a classifier's logits are."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from larq_insta_runtime.errors import InputError

_RESHAPING = (tf.keras.layers.Flatten, tf.keras.layers.Reshape)


def logits(model: tf.keras.Model) -> Any:
    """The tensor `(batch, classes)` that a classifier's softmax at its end reads.

    # Raises
        InputError: if there is none.
    """
    end = model.outputs[0]
    while isinstance(end._keras_history.layer, _RESHAPING):
        end = end._keras_history.layer.input
    layer = end._keras_history.layer
    if len(model.outputs) != 1 or not _is_softmax(layer) or len(model.output_shape) != 2:
        raise InputError(
            f"A classifier must end with a softmax over its classes; {model.name} ends with "
            f"{layer.name} ({type(layer).__name__}): put tf.keras.layers.Softmax() at its end."
        )
    return layer.input


def head(model: tf.keras.Model) -> tf.keras.layers.Layer:
    """The last layer with weights in front of the logits."""
    end = logits(model)
    while not end._keras_history.layer.weights:
        layer = end._keras_history.layer
        if not layer.inbound_nodes or len(layer.inbound_nodes[0].keras_inputs) != 1:
            break
        end = layer.inbound_nodes[0].keras_inputs[0]
    return end._keras_history.layer


def ends_with_softmax(layer: tf.keras.layers.Layer) -> bool:
    """Whether a layer with weights has a softmax of its own behind it."""
    own = getattr(layer, "activation", None) is tf.keras.activations.softmax
    return own and not _is_softmax(layer)


def _is_softmax(layer: tf.keras.layers.Layer) -> bool:
    if isinstance(layer, tf.keras.layers.Softmax):
        return layer.axis == -1
    is_activation = isinstance(layer, tf.keras.layers.Activation)
    return is_activation and layer.activation is tf.keras.activations.softmax
