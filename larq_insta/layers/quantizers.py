"""Signs as drop-in quantizers for Larq's layers: the instance-aware one, and a lean plain one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import larq as lq
import tensorflow as tf

import larq_insta.layers.int8_weights  # noqa: F401  (registers "int8_weights")
from larq_insta.layers.fused import fused
from larq_insta.layers.thresholds import InstaThreshold, StaticThreshold

# By their bare names: Larq looks quantizers up in Keras's global table, and `.h5` files
# name them without a package.


@lq.utils.register_alias("lean_approx_sign")
@lq.utils.register_keras_custom_object
class LeanApproxSign(lq.quantizers.ApproxSign):
    r"""Larq's `ApproxSign`, which in training keeps nothing for the backward pass but its input.

    \\[
    q(x) = \begin{cases} -1 & x < 0 \\\ 1 & x \geq 0 \end{cases}
    \qquad
    \frac{\partial L}{\partial x} = \begin{cases}
      (2 - 2|x|) \, g & |x| \leq 1 \\\
      0 & |x| > 1
    \end{cases}
    \\]

    with upstream gradient \\(g\\). Larq's own makes a mask, zeros and the pseudo-gradient of
    the maps' size already in the forward pass, and keeps all three.

    # Arguments
        metrics: As for Larq's `ApproxSign`.

    # Input shape
        Any.

    # Output shape
        Same as the input.

    # Raises
        Nothing of its own.

    # References
        - [Bi-Real Net: Enhancing the Performance of 1-bit CNNs With Improved
            Representational Capability and Advanced Training
            Algorithm](https://arxiv.org/abs/1808.00278)
    """

    def __init__(self, metrics: Sequence[str] | None = None, **kwargs: Any) -> None:
        super().__init__(metrics=metrics, **kwargs)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if not training:
            return super().call(inputs)
        return super(lq.quantizers.ApproxSign, self).call(_approx_sign_in_training(inputs))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "metrics": self._custom_metrics}


@tf.custom_gradient
def _approx_sign_in_training(
    x: tf.Tensor,
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    return _sign(x), lambda upstream: _pseudo_gradient(x, upstream)


@fused
def _sign(x: tf.Tensor) -> tf.Tensor:
    return lq.math.sign(x)


@fused
def _pseudo_gradient(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    magnitude = tf.abs(x)
    return tf.where(magnitude <= 1, (1 - magnitude) * 2 * upstream, tf.zeros_like(upstream))


@lq.utils.register_alias("insta_sign")
@lq.utils.register_keras_custom_object
class InstaSign(lq.quantizers.Quantizer):
    r"""Sign with an instance-aware threshold, for `input_quantizer` of any Larq layer.

    The paper's INSTA-Th and the sign behind it.

    \\[
    q(x) = \begin{cases}
      -1 & x < TH \\\
      1 & x \geq TH
    \end{cases}
    \qquad TH = \alpha \cdot E[X^3] + \beta
    \\]

    With \\(u = x - TH\\), upstream gradient \\(g\\) and \\(s = 2 - 2|u|\\) where
    \\(|u| \leq 1\\), else 0 (ApproxSign's pseudo-gradient), the gradient is that of
    `InstaThreshold` for the upstream gradient \\(g s\\).

    !!! example
        ```python
        lq.layers.QuantConv2D(64, 3, input_quantizer="insta_sign", ...)
        lq.layers.QuantConv2D(64, 3, input_quantizer=InstaSign(InstaThreshold("mean")), ...)
        ```

    !!! warning
        `lq.models.summary` counts weights of an `input_quantizer` as multiplications
        of the convolution. For exact costs put `InstaThreshold` in front of a layer with
        `input_quantizer="approx_sign"`, as our models do: the same function.

    # Arguments
        threshold: The layer that subtracts the threshold; `InstaThreshold()` if `None`.
        metrics: Larq's training metrics, `["flip_ratio"]` or `None`. The flip ratio of
            activations needs a fixed batch size.

    # Input shape
        `(batch, ..., channels)`, usually `(batch, height, width, channels)`.

    # Output shape
        Same as the input.

    # Raises
        ValueError: if the threshold returns its statistic, the data is not channels-last
            or the number of channels unknown.

    # References
        - [INSTA-BNN: Binary Neural Network with INSTAnce-aware
            Threshold](https://arxiv.org/abs/2204.07439)
    """

    precision = 1

    def __init__(
        self,
        threshold: tf.keras.layers.Layer | dict[str, Any] | None = None,
        metrics: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if threshold is None:
            threshold = InstaThreshold(dtype=self.dtype_policy, name="threshold")
        elif isinstance(threshold, dict):
            # `.h5` and SavedModel loading forgets packages and asks for bare names.
            known = {layer.__name__: layer for layer in (InstaThreshold, StaticThreshold)}
            threshold = tf.keras.utils.deserialize_keras_object(threshold, custom_objects=known)
        if not isinstance(threshold, tf.keras.layers.Layer):
            raise ValueError(
                "`threshold` of InstaSign must be None or a layer, such as InstaThreshold(); got "
                f"{threshold!r}."
            )
        if getattr(threshold, "return_statistic", False):
            raise ValueError(
                "`threshold` of InstaSign must give one output; got return_statistic=True: "
                "put InstaThreshold in front of the layer to reuse its statistic."
            )
        self.threshold: tf.keras.layers.Layer = threshold
        self.sign = LeanApproxSign(metrics=metrics, dtype=self.dtype_policy, name="sign")

    def build(self, input_shape: Any) -> None:
        # Weights in an .h5 file are told apart by their scoped names.
        with tf.name_scope(self.threshold.name):
            self.threshold.build(input_shape)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self.sign(self.threshold(inputs))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "threshold": tf.keras.utils.serialize_keras_object(self.threshold),
            "metrics": self.sign._custom_metrics,
        }


def instance_aware(model: tf.keras.Model) -> dict[str, InstaThreshold]:
    """Instance-aware thresholds, by the names of their layers or of those they quantize."""
    layers = {layer.name: _threshold_layer(layer) for layer in model.layers}
    return {name: layer for name, layer in layers.items() if isinstance(layer, InstaThreshold)}


def _threshold_layer(layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
    """The layer that subtracts the threshold: `layer` itself, or in its quantizer."""
    quantizer = getattr(layer, "input_quantizer", layer)
    return quantizer.threshold if isinstance(quantizer, InstaSign) else quantizer
