"""A model in another form: binary or not, of other classes or names, its logits to be seen."""

from __future__ import annotations

from typing import Any

import larq as lq
import tensorflow as tf

from larq_insta.rewriting import heads
from larq_insta.rewriting.rebuilding import (
    Change,
    Layer,
    Rebuilding,
    as_operations,
    check_functional,
    unchanged,
)
from larq_insta_runtime.errors import InputError

BINARY = ("both", "activations", "neither")
"""What layers may have binary: activations and weights, only these, or none."""

_KERNELS = ("kernel", "depthwise", "pointwise")
KERNEL_QUANTIZERS = tuple(f"{kernel}_quantizer" for kernel in _KERNELS)
"""Names of what quantizes weights, in Larq's layers."""


def formed(
    model: tf.keras.Model,
    *,
    binary: str = "both",
    classes: int | None = None,
    change: Change = unchanged,
    inputs: Any = None,
    name: str | None = None,
) -> tf.keras.Model:
    """A copy of a classifier, or of its features, in the form that a training needs.

    A softmax that is the activation of its last layer becomes a layer of its own,
    `..._probs`, so that there are logits; of a model at its end the layers become its own.

    # Arguments
        model: A functional or sequential model.
        binary: What of it stays binary, see `BINARY`: with `"activations"` binary
            kernels become float, with `"neither"` signs go, too.
        classes: How many it shall tell apart; with another number the last dense layer is new.
        change: Called with a layer and its copy's configuration, to change that in place.
        inputs: Tensors to take the place of the model's inputs.
        name: What the copy is called, by default as the model.

    # Raises
        ValueError: if the model cannot be copied, or has not what would be changed.
    """
    check_functional(model)
    if binary not in BINARY:
        raise ValueError(f"`binary` must be {', '.join(map(repr, BINARY))}; got {binary!r}.")
    form = _Form(model, binary, classes, change)
    fresh = [form.head] if form.head is not None else []
    opened = heads.models_at_end(model)
    copy = Rebuilding(form.call, form.change, fresh=fresh, opened=opened).model(model, inputs, name)
    if binary != "both" and not form.changed:
        raise ValueError(
            f"A step with float weights needs binary kernels of Larq's layers; {model.name} has "
            "none: train in one step, --steps both."
        )
    return copy


def is_binary(quantizer: Any) -> bool:
    """Whether a quantizer gives one bit."""
    return getattr(quantizer, "precision", None) == 1


class _Form:
    def __init__(
        self,
        model: tf.keras.Model,
        binary: str,
        classes: int | None,
        change: Change,
    ) -> None:
        self.changed = False
        self.head: Layer | None = None
        self._binary = binary
        self._change = change
        self._classes = classes
        end = heads.last_layer(model)
        self._last = end if heads.ends_with_softmax(end) else None
        if classes is not None and model.output_shape[-1] != classes:
            self.head = self._last or heads.head(model)
            _check_dense(model, self.head, classes)

    def change(self, layer: Layer, config: dict[str, Any]) -> None:
        self._change(layer, config)
        if layer is self._last:
            config["activation"] = "linear"
        if layer is self.head:
            config["units"] = self._classes
        if self._binary == "both":
            return
        for kernel in _KERNELS:
            if is_binary(getattr(layer, f"{kernel}_quantizer", None)):
                config[f"{kernel}_quantizer"] = config[f"{kernel}_constraint"] = None
                self.changed = True
        if self._binary == "neither" and is_binary(getattr(layer, "input_quantizer", None)):
            config["input_quantizer"] = None
            if "pad_values" in config:
                config["pad_values"] = 0.0

    def call(self, rebuilding: Rebuilding, node: Any, *args: Any, **kwargs: Any) -> Any:
        layer = node.layer
        if isinstance(layer, tf.keras.layers.Lambda):
            config = {"name": layer.name}
            self._change(layer, config)
            return as_operations(layer, *args, **config)
        if self._binary == "neither" and isinstance(layer, lq.quantizers.Quantizer):
            return tf.keras.layers.Activation("linear", name=layer.name)(*args)
        made = rebuilding.copy(layer)(*args, **kwargs)
        if layer is not self._last:
            return made
        name = f"{rebuilding.copy(layer).name}_probs"
        return tf.keras.layers.Softmax(dtype="float32", name=name)(made)


def _check_dense(model: tf.keras.Model, layer: Layer, classes: int) -> None:
    if not isinstance(layer, tf.keras.layers.Dense):
        raise InputError(
            f"To tell other classes apart the last layer with weights must be dense; of "
            f"{model.name}, which tells {model.output_shape[-1]}, not {classes}, it is "
            f"{layer.name} ({type(layer).__name__}): build it for {classes} classes."
        )
