"""Lowers a Keras model through Larq Compute Engine to the content of a `.tflite` file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import larq as lq
import larq_compute_engine as lce
import numpy as np
import tensorflow as tf

from larq_insta.conversion import folding
from larq_insta.conversion.exporting import exported
from larq_insta.conversion.ties import settled
from larq_insta.layers import few_bits
from larq_insta.rewriting.flattening import Call, calls
from larq_insta.rewriting.forms import KERNEL_QUANTIZERS, is_binary
from larq_insta.rewriting.large_scales import keep_exact
from larq_insta_runtime.errors import InputError, first_line
from larq_insta_runtime.graph import Graph, foreign_operators

_KEEPING_SIGNS = (
    tf.keras.layers.MaxPooling2D,
    tf.keras.layers.Concatenate,
    tf.keras.layers.Dropout,
    tf.keras.layers.SpatialDropout2D,
)


def check_convertible(model: tf.keras.Model) -> None:
    """Whether Larq Compute Engine can convert a model without quietly going wrong.

    # Raises
        InputError: if not.
    """
    ends = len(model.inputs or ()), len(model.outputs or ())
    if ends != (1, 1):
        raise InputError(
            "A model to convert must be functional, with one input and one output; "
            f"{model.name} has {ends[0]} and {ends[1]}."
        )
    shape = model.input_shape[1:]
    if None in shape:
        raise InputError(
            f"A model to convert must have a fixed input size; got {shape}: build it with "
            "input_shape=(height, width, channels) and load its weights."
        )
    for layer in model._flatten_layers():
        if layer.compute_dtype != "float32" and not isinstance(layer, tf.keras.layers.InputLayer):
            raise InputError(
                f"A model to convert must compute in float32; layer {layer.name} does in "
                f"{layer.compute_dtype}: build it without mixed precision and load its weights."
            )


def lower(model: tf.keras.Model) -> bytes:
    """Converts a model as it is, for batches of one; `folding.fold` it before.

    # Raises
        InputError: if the model cannot be converted.
    """
    check_convertible(model)
    _check_padding(model)
    try:
        stand_ins = few_bits.stand_ins(model, few_bits.AsBinary)
        with settled(model), exported(model, stand_ins) as folder:
            # Not `convert_keras_model`: it hides errors and tries another way.
            content = lce.convert_saved_model(folder)
    except Exception as error:
        raise InputError(
            f"Larq Compute Engine cannot convert {model.name}: {first_line(error)}"
        ) from error
    foreign = foreign_operators(Graph(content))
    if foreign:
        raise InputError(
            f"Every operator must be known to Larq Compute Engine; {', '.join(foreign)} of "
            f"{model.name} is not: replace it."
        )
    return keep_exact(content)


@contextmanager
def as_trained(model: tf.keras.Model) -> Iterator[None]:
    """For a time adds noise to each vector of equal numbers, from which a new model starts.

    As after a training; operators that add or multiply equal numbers might vanish.
    """
    values = model.get_weights()
    rng = np.random.default_rng(0)
    try:
        model.set_weights(
            [v if np.ptp(v) else v + rng.uniform(-1e-3, 1e-3, v.shape) for v in values]
        )
        yield
    finally:
        model.set_weights(values)


def lower_as_trained(model: tf.keras.Model, fold: bool = True) -> bytes:
    """Folds and converts a model that need not be trained, to see what its file costs.

    # Raises
        InputError: if the model cannot be converted.
    """
    check_convertible(model)
    with as_trained(model):
        return lower(folding.fold(model) if fold else model)


def binary_layers(model: tf.keras.Model) -> list[tf.keras.layers.Layer]:
    """The layers that multiply binary inputs by binary weights, each as often as it is called."""
    return [layer for layer, _ in _binary_calls(model)]


def _binary_calls(model: tf.keras.Model) -> list[tuple[tf.keras.layers.Layer, Call]]:
    return [
        (layer, call)
        for call in calls(model)
        for layer in call.layer._flatten_layers()
        if any(is_binary(getattr(layer, name, None)) for name in KERNEL_QUANTIZERS)
        and (
            is_binary(getattr(layer, "input_quantizer", None))
            or few_bits.levels(layer)
            or _is_given_signs(call)
        )
    ]


def _check_padding(model: tf.keras.Model) -> None:
    """Whether no zeros lie around maps smaller than the filter, with which the engine miscounts."""
    for layer, call in _binary_calls(model):
        size = call.given.shape[1:3]
        if _pads_with_zeros(layer) and _is_smaller(size, _reach(layer)):
            raise InputError(
                "Larq Compute Engine must not pad with zeros a map smaller than the (dilated) "
                f"filter; layer {layer.name} has {size[0]} x {size[1]} pixels for a filter of "
                f"{' x '.join(map(str, _reach(layer)))}: use --runtime tflite, larger pictures, or "
                "train with pad_values=1.0."
            )


def _is_smaller(size: tf.TensorShape, reach: list[int]) -> bool:
    return any(n is not None and n < r for n, r in zip(size, reach, strict=True))


def _pads_with_zeros(layer: tf.keras.layers.Layer) -> bool:
    known = isinstance(layer, lq.layers.QuantConv2D) and layer.padding == "same"
    return known and layer.pad_values == 0 and not few_bits.levels(layer)


def _reach(layer: lq.layers.QuantConv2D) -> list[int]:
    sizes = zip(layer.kernel_size, layer.dilation_rate, strict=True)
    return [(kernel - 1) * rate + 1 for kernel, rate in sizes]


def _is_given_signs(call: Call) -> bool:
    return bool(call.sources) and all(_gives_signs(source) for source in call.sources)


def _gives_signs(call: Call) -> bool:
    if isinstance(call.layer, lq.quantizers.Quantizer):
        return is_binary(call.layer)
    return isinstance(call.layer, _KEEPING_SIGNS) and _is_given_signs(call)
