"""Float weights trained as a `.tflite` file with int8 weights holds them."""

from __future__ import annotations

from collections.abc import Callable

import larq as lq
import tensorflow as tf

STEPS = 127.0  # from zero to the largest


@lq.utils.register_alias("int8_weights")
@lq.utils.register_keras_custom_object
class Int8Weights(lq.quantizers.Quantizer):
    r"""Rounds weights to 127 steps on each side of zero, for each output channel.

    As `larq-insta convert --float-weights int8` stores them: a network trained with it
    computes the same in float32 as from the smaller file.

    \\[
    q(w) = s \, \mathrm{round}(w / s), \qquad s_c = \max |w_{\cdot, c}| / 127
    \\]

    Gradient: that of \\(w\\) (straight-through), \\(\partial L / \partial w = g\\).

    !!! example
        ```python
        lq.layers.QuantConv2D(64, 1, kernel_quantizer="int8_weights", use_bias=False)
        ```

    # Arguments
        **kwargs: As for every layer.

    # Input shape
        `(..., channels)`, the kernel of a convolution or dense layer.

    # Output shape
        Same as the input.

    # Raises
        Nothing of its own.

    # References
        - [TensorFlow Lite 8-bit quantization
            specification](https://www.tensorflow.org/lite/performance/quantization_spec)
    """

    precision = 8

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return super().call(_rounded(tf.convert_to_tensor(inputs)))


@tf.custom_gradient
def _rounded(weights: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    largest = tf.reduce_max(tf.abs(weights), list(range(weights.shape.rank - 1)), keepdims=True)
    step = tf.where(largest > 0, largest / STEPS, tf.ones_like(largest))
    return tf.round(weights / step) * step, lambda upstream: upstream
