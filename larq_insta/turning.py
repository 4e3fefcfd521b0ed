"""The turn that makes PyTorch's padding Keras's."""

from __future__ import annotations

import tensorflow as tf


@tf.keras.utils.register_keras_serializable("larq_insta")
class HalfTurn(tf.keras.layers.Layer):
    r"""Turns maps by 180 degrees.

    \\[y_{i, j} = x_{H - 1 - i, W - 1 - j}\\]

    Gradient: the same turn of the upstream gradient.

    A window of stride 2 that PyTorch pads alike on both sides lies one pixel further up
    and left than Keras's "same" window where the map's size is even, and in the same place
    where it is odd. Seen from the other end of the map it is the other way round: on a turned
    map with kernels turned likewise, "same" windows are PyTorch's.

    # Arguments
        **kwargs: As for every layer.

    # Input shape
        `(batch, height, width, channels)`.

    # Output shape
        Same as the input.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.reverse(inputs, (1, 2))
