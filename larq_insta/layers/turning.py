"""The turn that makes PyTorch's padding Keras's."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from larq_insta.layers.channelwise import ChannelwiseLayer


@tf.keras.utils.register_keras_serializable("larq_insta")
class HalfTurn(ChannelwiseLayer):
    r"""Turns maps by 180 degrees.

    \\[y_{i, j} = x_{H - 1 - i, W - 1 - j}\\]

    Gradient: the same turn of the upstream gradient.

    A window of stride 2 that PyTorch pads alike on both sides lies one pixel further up
    and left than Keras's "same" window where the map's size is even, and in the same place
    where it is odd. Seen from the other end of the map it is the other way round: on a turned
    map with kernels turned likewise, "same" windows are PyTorch's.

    !!! example
        ```python
        x = larq_insta.HalfTurn()(pictures)
        x = tf.keras.layers.Conv2D(64, 7, strides=2, padding="same")(x)
        ```

    # Arguments
        **kwargs: As for every layer.

    # Input shape
        `(batch, height, width, channels)`.

    # Output shape
        Same as the input.

    # Raises
        ValueError: if the data is not channels-last, has other than four axes, or the number
            of channels is unknown.

    # References
        - [ReActNet: Towards Precise Binary Neural Network with Generalized Activation
            Functions](https://arxiv.org/abs/2003.03488), whose published checkpoints need it
    """

    FLOATS_ONLY = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        if self.input_spec.ndim != 4:
            raise ValueError(
                "HalfTurn needs inputs of shape (batch, height, width, channels); got "
                f"{tf.TensorShape(input_shape)}: give it maps."
            )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.reverse(inputs, (1, 2))
