"""Saves a model for the converters, rewritten where they would not take it as it is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import tensorflow as tf
from larq.quantized_variable import QuantizedVariable

from larq_insta.rewriting.flattening import walk

Layer: TypeAlias = tf.keras.layers.Layer


@contextmanager
def exported(model: tf.keras.Model, stand_ins: Mapping[Layer, Layer]) -> Iterator[str]:
    """The folder of a saved model, for batches of one, which exists for a time.

    # Arguments
        model: The model.
        stand_ins: What is called in place of some of its layers.
    """
    image = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="image")
    kept = [weight for layer in stand_ins.values() for weight in layer.weights]

    def call(node: Any, *args: Any, **kwargs: Any) -> Any:
        return stand_ins.get(node.layer, node.layer)(*args, **kwargs)

    def serve(image: tf.Tensor) -> Any:
        with tf.name_scope(model.name):
            return walk(model, [image], call)[0]

    with kernels_quantized(model), tempfile.TemporaryDirectory() as folder:
        module = tf.Module()
        # Tracking the variables alone: with the model itself Keras would trace every layer.
        module.model_variables = [*model.variables, *kept]
        module.serve = tf.function(serve, [image])
        tf.saved_model.save(module, folder, signatures=module.serve)
        yield folder


@contextmanager
def kernels_quantized(model: tf.keras.Model) -> Iterator[None]:
    """For a time quantized kernels are weights, and nothing quantizes them.

    Converters compute constants themselves, but not those of some millions of numbers.
    """
    weights = [weight for layer in model._flatten_layers() for weight in layer.weights]
    kernels = {id(w): w for w in weights if isinstance(w, QuantizedVariable) and w.quantizer}
    before = [(w, w.quantizer, w.latent_variable.numpy()) for w in kernels.values()]
    try:
        for kernel, quantizer, latent in before:
            kernel.latent_variable.assign(quantizer(tf.constant(latent)))
            kernel.quantizer = None
        yield
    finally:
        for kernel, quantizer, latent in before:
            kernel.quantizer = quantizer
            kernel.latent_variable.assign(latent)
