"""The parts that binary residual networks are built of, as functions of tensors."""

import larq as lq
import tensorflow as tf

import larq_insta.layers  # noqa: F401  (registers "lean_approx_sign")


def batch_norm(x: tf.Tensor, name: str) -> tf.Tensor:
    """Batch normalisation with the momentum and epsilon of PyTorch, as in ReActNet."""
    return tf.keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, name=f"{name}_batch_norm"
    )(x)


def binary_conv(
    x: tf.Tensor,
    filters: int,
    kernel_size: int,
    name: str,
    strides: int = 1,
    binary: str = "both",
    pad_values: float = 1.0,
) -> tf.Tensor:
    """Convolution of sign(x) with binary weights, scaled by mean |W| per output channel.

    `binary` tells which of the two are binary; see `rewriting.forms.BINARY`. `pad_values`
    surround signs.
    """
    weights = {
        "kernel_quantizer": "magnitude_aware_sign",
        "kernel_constraint": "weight_clip",
    }
    return lq.layers.QuantConv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        pad_values=0.0 if binary == "neither" else pad_values,
        use_bias=False,
        input_quantizer=None if binary == "neither" else "lean_approx_sign",
        kernel_initializer="glorot_normal",
        name=f"{name}_conv",
        **(weights if binary == "both" else {}),
    )(x)


def halve(x: tf.Tensor, name: str) -> tf.Tensor:
    """2x2 average pooling; odd maps round up, as a strided "same" convolution does."""
    return tf.keras.layers.AveragePooling2D(2, padding="same", name=f"{name}_pool")(x)


def add(x: tf.Tensor, shortcut: tf.Tensor, name: str) -> tf.Tensor:
    return tf.keras.layers.Add(name=f"{name}_add")([x, shortcut])
