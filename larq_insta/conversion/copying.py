"""A copy of a model whose layers are those that inference needs, for `folding` to rewrite."""

from __future__ import annotations

from collections import Counter
from itertools import chain, count
from typing import Any, TypeAlias

import larq as lq
import tensorflow as tf

from larq_insta.layers import InstaPReLU, InstaSign, InstaThreshold, StaticThreshold
from larq_insta.layers.inference import InferenceLayer, InferencePReLU, InferenceThreshold
from larq_insta.layers.int8_weights import Int8Weights
from larq_insta.rewriting.flattening import calls, walk
from larq_insta.rewriting.rebuilding import weights_but_of
from larq_insta_runtime.errors import InputError, first_line

Layer: TypeAlias = tf.keras.layers.Layer

_PLAIN = {
    lq.layers.QuantConv2D: tf.keras.layers.Conv2D,
    lq.layers.QuantDense: tf.keras.layers.Dense,
}

_KINDS = {
    InstaThreshold: InferenceThreshold,
    StaticThreshold: InferenceThreshold,
    InstaPReLU: InferencePReLU,
}

_OUTPUT = "larq_insta_output_"


def for_inference(model: tf.keras.Model) -> tf.keras.Model:
    """A copy without models in it, with instance-aware layers as the folds need them."""
    inputs = [
        tf.keras.Input(batch_shape=x.shape, dtype=x.dtype, name=x._keras_history.layer.name)
        for x in model.inputs
    ]
    copies = _Copies(model)
    try:
        outputs = walk(model, inputs, copies.call)
    except Exception as error:
        raise InputError(
            f"A model to fold must consist of layers that can be copied; {model.name} does not "
            f"({first_line(error)}): convert it with --no-fold."
        ) from error
    # Outputs are read too: by layers that take no shift over.
    outputs = [
        tf.keras.layers.Activation("linear", name=f"{_OUTPUT}{i}")(output)
        for i, output in enumerate(outputs)
    ]
    return tf.keras.Model(inputs, outputs, name=model.name)


class _Copies:
    """Copies of a model's layers, each made when it is called first."""

    def __init__(self, model: tf.keras.Model) -> None:
        self._copies: dict[Layer, Layer] = {}
        self._names = {x._keras_history.layer.name for x in model.inputs}
        self._uses = Counter(call.layer for call in calls(model))

    def call(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        layer = node.layer
        if layer in self._copies:
            return self._copies[layer](*args, **kwargs)
        given = tf.nest.flatten((args, kwargs))[0]
        copy = _copy(layer, given, self._uses[layer] == 1)
        copy._name = self._free_name(layer.name)
        self._copies[layer] = copy
        made = copy(*args, **kwargs)
        for weight, value in zip(copy.weights, _weights_of_copy(layer, copy), strict=True):
            weight.assign(value)
        copy.finalize_state()  # an adapted Normalization holds constants of its weights
        return made

    def _free_name(self, name: str) -> str:
        """Two models inside one may have layers of the same name."""
        numbered = (f"{name}_{number}" for number in count(1))
        free = next(n for n in chain([name], numbered) if n not in self._names)
        self._names.add(free)
        return free


def _copy(layer: Layer, given: Any, used_once: bool) -> Layer:
    config = layer.get_config()
    quantizer: Any = getattr(layer, "input_quantizer", None)
    if used_once and _is_instance_aware(quantizer):
        copy = layer.__class__.from_config(config)
        threshold = InferenceThreshold(quantizer.threshold, given.shape)
        copy.input_quantizer = InstaSign(threshold, name=quantizer.name)
        return copy
    if _is_rounded(layer):
        del config["kernel_quantizer"], config["input_quantizer"]
        config.pop("pad_values", None)
        return _PLAIN[type(layer)].from_config(config)
    kind = _KINDS.get(type(layer))
    if kind is None or not used_once or layer.input_spec.ndim != 4:
        return layer.__class__.from_config(config)
    return kind(layer, given.shape)


def _is_instance_aware(quantizer: Any) -> bool:
    return isinstance(quantizer, InstaSign) and type(quantizer.threshold) is InstaThreshold


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
    return weights_but_of(layer.input_quantizer if _has_numbers_inside(copy) else None, layer)


def _has_numbers_inside(copy: Layer) -> bool:
    quantizer = getattr(copy, "input_quantizer", None)
    return isinstance(getattr(quantizer, "threshold", None), InferenceLayer)
