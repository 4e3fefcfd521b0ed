"""Lowers a Keras model through Larq Compute Engine, and proves that it is the same.

Larq Compute Engine turns what it does not recognise into slow float operators without a
word; nothing here is written before the binary operators have been counted and the
file's answers compared with Keras's on real pictures.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import larq as lq
import larq_compute_engine as lce
import numpy as np
import tensorflow as tf
from larq_compute_engine.mlir.python import tflite_schema

from larq_insta.card import Card
from larq_insta.errors import InputError, first_line
from larq_insta.files import check_writable, written_whole
from larq_insta.runtime import interpreter

BINARY_CONVOLUTION = "LceBconv2d"
_ENGINE_OPERATORS = (BINARY_CONVOLUTION, "LceQuantize", "LceDequantize", "LceBMaxPool2d")
_KERNEL_QUANTIZERS = ("kernel_quantizer", "depthwise_quantizer", "pointwise_quantizer")
_BUILTIN_NAMES = {
    code: name
    for name, code in vars(tflite_schema.BuiltinOperator).items()
    if not name.startswith("_")
}


@dataclass(frozen=True)
class Report:
    """What the check of a converted file found.

    # Attributes
        binary_convolutions: Binary convolutions in the file, as many as in the model.
        float_layers: Binary dense layers, which Larq Compute Engine runs in float.
        pictures: Real pictures that both were asked about.
        agreement: Share of these with the same best class (0 to 1).
        deviation: Median over pictures of the largest difference of a probability.
        size: Bytes of the file.
    """

    binary_convolutions: int
    float_layers: tuple[str, ...]
    pictures: int
    agreement: float
    deviation: float
    size: int

    def describe(self) -> str:
        lines = [
            f"{self.binary_convolutions} of {self.binary_convolutions} convolutions are binary; "
            f"same answer as Keras on {self.agreement:.1%} of {self.pictures} pictures (largest "
            f"difference of a probability: median {self.deviation:.1g})."
        ]
        lines += [
            f"Layer {layer} runs in float: the engine has no binary dense operator."
            for layer in self.float_layers
        ]
        return "\n".join(lines)


def lower(model: tf.keras.Model) -> bytes:
    """Converts a float32 Keras model with a fixed input size, for batches of one.

    # Raises
        InputError: if the model cannot be converted faithfully.
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
    _check_precision(model)
    image = tf.TensorSpec((1, *shape), tf.float32, name="image")
    module = tf.Module()
    # Tracking the variables alone: with the model itself Keras would trace every layer.
    module.model_variables = model.variables
    module.serve = tf.function(lambda image: model(image, training=False), [image])
    with tempfile.TemporaryDirectory() as folder:
        try:
            tf.saved_model.save(module, folder, signatures=module.serve)
            # Not `convert_keras_model`: it hides errors and tries another way.
            content = lce.convert_saved_model(folder)
        except Exception as error:
            raise InputError(
                f"Larq Compute Engine cannot convert {model.name}: {first_line(error)}"
            ) from error
    foreign = set(operators(content)) - set(_BUILTIN_NAMES.values()) - set(_ENGINE_OPERATORS)
    if foreign:
        raise InputError(
            f"Every operator must be known to Larq Compute Engine; {', '.join(sorted(foreign))} "
            f"of {model.name} is not: replace it."
        )
    return content


def file_size(model: tf.keras.Model) -> int:
    """Bytes of the `.tflite` file of a model, trained or to be trained.

    Vectors of equal numbers, which a new model starts from, are taken for others, as they
    would be folded away.

    # Raises
        InputError: if the model cannot be converted faithfully.
    """
    values = model.get_weights()
    rng = np.random.default_rng(0)
    try:
        model.set_weights([v if np.ptp(v) else v + rng.uniform(0.1, 0.2, v.shape) for v in values])
        return len(lower(model))
    finally:
        model.set_weights(values)


def operators(content: bytes) -> Counter[str]:
    """How often each operator occurs in a `.tflite` file."""
    model = tflite_schema.Model.GetRootAsModel(bytearray(content), 0)
    names = []
    for i in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(i)
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        custom = code.CustomCode()
        names.append(custom.decode() if custom else _BUILTIN_NAMES[builtin])
    graph = model.Subgraphs(0)
    return Counter(names[graph.Operators(i).OpcodeIndex()] for i in range(graph.OperatorsLength()))


def binary_layers(model: tf.keras.Model) -> list[tf.keras.layers.Layer]:
    """The layers that multiply binary inputs by binary weights."""
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if any(_is_binary(getattr(layer, name, None)) for name in _KERNEL_QUANTIZERS)
        and (_is_binary(getattr(layer, "input_quantizer", None)) or _follows_sign(layer))
    ]


def check(
    model: tf.keras.Model, content: bytes, images: np.ndarray, min_agreement: float = 0.98
) -> Report:
    """Compares a converted model with its original.

    # Arguments
        model: The Keras model.
        content: What `lower` made of it.
        images: Normalized real pictures `(images, height, width, channels)`.
        min_agreement: Share of pictures that must get the same best class. Not 1: a sum
            rounded otherwise in front of a sign flips it now and then, and pictures
            between two classes may then change sides.

    # Raises
        InputError: if a convolution is not binary any more or the answers differ.
    """
    binary = binary_layers(model)
    dense = [layer.name for layer in binary if isinstance(layer, tf.keras.layers.Dense)]
    expected, found = len(binary) - len(dense), operators(content)[BINARY_CONVOLUTION]
    if expected == 0:
        raise InputError(
            f"A model to convert must have binary convolutions; {model.name} has none: give "
            "Larq layers binary input and kernel quantizers."
        )
    if found != expected:
        raise InputError(
            f"Every binary convolution must stay binary; {found} of {expected} did, the others "
            "became slow float operators: pad with 1 (pad_values=1.0) and use no depthwise or "
            "grouped binary convolutions."
        )
    keras, lite = model.predict(images, verbose=0), interpreter(content).predict(images)
    if not (np.isfinite(keras).all() and np.isfinite(lite).all()):
        raise InputError(
            "A model's answers must be finite numbers; on the pictures of the check they are "
            "not: look at the training's log for a loss that grew."
        )
    agreement = float(np.mean(keras.argmax(-1) == lite.argmax(-1)))
    if agreement < min_agreement:
        raise InputError(
            f"The converted model must agree with Keras on {min_agreement:.0%} of the pictures; "
            f"it does on {agreement:.1%} of {len(images)}: the file is not written."
        )
    deviation = float(np.median(np.abs(keras - lite).max(-1)))
    return Report(found, tuple(dense), len(images), agreement, deviation, len(content))


def convert(model: tf.keras.Model, target: Path, card: Card, images: np.ndarray) -> Report:
    """Lowers, checks and writes a model; the file is written whole or not at all.

    # Arguments
        model: The Keras model.
        target: The `.tflite` file to write.
        card: What the file shall carry for those who run it.
        images: Normalized real pictures for the check.

    # Raises
        InputError: if the model cannot be converted faithfully or `target` not be written.
    """
    if target.suffix != ".tflite":
        raise InputError(f"A converted file must be called *.tflite; got {str(target)!r}.")
    check_writable(target)
    content = lower(model)
    report = check(model, content, images)
    with written_whole(target) as partial:
        partial.write_bytes(content)
        card.append_to(partial)
    return report


def _check_precision(model: tf.keras.Model) -> None:
    for layer in model._flatten_layers():
        if layer.compute_dtype != "float32":
            raise InputError(
                f"A model to convert must compute in float32; layer {layer.name} does in "
                f"{layer.compute_dtype}: build it without mixed precision and load its weights."
            )


def _is_binary(quantizer: object) -> bool:
    return getattr(quantizer, "precision", None) == 1


def _follows_sign(layer: tf.keras.layers.Layer) -> bool:
    before = layer.inbound_nodes[0].inbound_layers if layer.inbound_nodes else None
    return isinstance(before, lq.quantizers.Quantizer) and _is_binary(before)
