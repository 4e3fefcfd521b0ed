"""A copy of a model whose layers are those that inference needs, for `folding` to rewrite."""

from __future__ import annotations

from typing import TypeAlias

import larq as lq
import tensorflow as tf

from larq_insta.conversion.inference import InferenceLayer, InferencePReLU, InferenceThreshold
from larq_insta.layers import InstaPReLU, InstaSign, InstaThreshold
from larq_insta.layers.int8_weights import Int8Weights
from larq_insta.lite.errors import InputError, first_line

Layer: TypeAlias = tf.keras.layers.Layer

_PLAIN = {
    lq.layers.QuantConv2D: tf.keras.layers.Conv2D,
    lq.layers.QuantDense: tf.keras.layers.Dense,
}

_OUTPUT = "larq_insta_output_"


def for_inference(model: tf.keras.Model) -> tf.keras.Model:
    """A copy with instance-aware layers as the folds need them."""
    try:
        copy = tf.keras.models.clone_model(model, clone_function=_copy)
    except Exception as error:
        raise InputError(
            f"A model to fold must consist of layers that can be copied; {model.name} does not "
            f"({first_line(error)}): convert it with --no-fold."
        ) from error
    for layer in model.layers:
        weights = _weights_of_copy(layer, copy.get_layer(layer.name))
        for weight, value in zip(copy.get_layer(layer.name).weights, weights, strict=True):
            weight.assign(value)
    # Outputs are read too: by layers that take no shift over.
    outputs = [
        tf.keras.layers.Activation("linear", name=f"{_OUTPUT}{i}")(output)
        for i, output in enumerate(copy.outputs)
    ]
    return tf.keras.Model(copy.inputs, outputs, name=model.name)


def _copy(layer: Layer) -> Layer:
    quantizer = _instance_aware_quantizer(layer)
    if quantizer is not None:
        copy = layer.__class__.from_config(layer.get_config())
        threshold = InferenceThreshold(quantizer.threshold, layer.input_shape)
        copy.input_quantizer = InstaSign(threshold, name=quantizer.name)
        return copy
    if _is_rounded(layer):
        config = layer.get_config()
        del config["kernel_quantizer"], config["input_quantizer"]
        config.pop("pad_values", None)
        return _PLAIN[type(layer)].from_config(config)
    kind = {InstaThreshold: InferenceThreshold, InstaPReLU: InferencePReLU}.get(type(layer))
    if kind is None or len(layer.inbound_nodes) != 1 or layer.input_spec.ndim != 4:
        return layer.__class__.from_config(layer.get_config())
    first = layer.inbound_nodes[0].input_shapes
    return kind(layer, first[0] if isinstance(first, list) else first)


def _instance_aware_quantizer(layer: Layer) -> InstaSign | None:
    quantizer = getattr(layer, "input_quantizer", None)
    known = isinstance(quantizer, InstaSign) and type(quantizer.threshold) is InstaThreshold
    return quantizer if known and len(layer.inbound_nodes) == 1 else None


def _is_rounded(layer: Layer) -> bool:
    """Whether a layer has weights that are rounded, and nothing binary."""
    return (
        type(layer) in _PLAIN
        and isinstance(layer.kernel_quantizer, Int8Weights)
        and layer.input_quantizer is None
    )


def _weights_of_copy(layer: Layer, copy: Layer) -> list[tf.Variable]:
    if isinstance(copy, InferenceLayer):
        return []
    if _is_rounded(layer):
        return [layer.kernel_quantizer(layer.kernel), *([layer.bias] if layer.use_bias else [])]
    quantizer = _instance_aware_quantizer(layer)
    inside = [] if quantizer is None else quantizer.weights
    return [weight for weight in layer.weights if not any(weight is other for other in inside)]
