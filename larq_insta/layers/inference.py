"""Instance-aware layers as inference needs them: plain numbers, for `folding` to rewrite.

They compute what the layers that they are made of compute in inference. The numbers are
no weights, so that what is absent costs no operator. Thresholds and shifts are negated and
added: TensorFlow Lite's own kernels, without XNNPACK, take twice as long to subtract a vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from larq_insta.layers import InstaPReLU, InstaThreshold, StaticThreshold, statistics
from larq_insta.layers.activations import PARAMETERS
from larq_insta.layers.channelwise import InstanceAware
from larq_insta.layers.rprelu import shifted_prelu

_DEGREES = {"mean": 1, "variance": 2, "cube_mean": 3}
"""k where S(s x) = s^k S(x); skewness has an epsilon that does not scale."""

_MANY_CHANNELS = 64
"""From which on a depthwise convolution as large as the map is as fast as a product and a
mean (x86; its cost of 8 ns a position does not depend on the channels)."""


class InferenceLayer(tf.keras.layers.Layer):
    r"""A statistic \\(scale \cdot S(x + shift) + offset\\) within limits, and what follows.

    # Attributes
        statistic: Name of \\(S\\); the sum instead of the mean for `"cube_mean"`.
        scale: Vector with one entry a channel; `None` for 1.
        offset: Likewise; `None` for 0.
        shift: Likewise; `None` for 0.
        limits: The least and the largest value of the statistic, each a number or a vector;
            `None` for none.
    """

    def __init__(self, layer: InstanceAware | StaticThreshold, input_shape: tf.TensorShape) -> None:
        super().__init__(name=layer.name, dtype=layer.dtype)
        self.statistic = getattr(layer, "statistic", None)
        self.scale: np.ndarray | None = None
        self.offset: np.ndarray | None = None
        self.shift: np.ndarray | None = None
        self.limits: tuple[Any, Any] | None = None
        if not isinstance(layer, InstanceAware):
            return
        if layer.statistic_bound is not None:
            self.limits = -layer.statistic_bound, layer.statistic_bound
        if layer.normalization == "statistic":
            mean, deviation = _moments(layer)
            self.scale, self.offset = 1 / deviation, -mean / deviation
        if self.statistic == "cube_mean":
            positions = np.float32(np.prod(input_shape[1:-1], dtype=np.float64))
            ones = np.ones(input_shape[-1], np.float32)
            self.scale = (ones if self.scale is None else self.scale) / positions

    def instance_statistic(self, x: tf.Tensor) -> tf.Tensor:
        if self.statistic == "cube_mean":
            statistic = _cube_sum(x, self.shift)
        else:
            statistic = statistics.get(self.statistic)(x)
        if self.statistic == "mean" and self.shift is not None:
            statistic = statistic + self.shift  # variance and skewness do not see a shift
        if self.scale is not None:
            statistic = statistic * self.scale
        if self.offset is not None:
            statistic = statistic + self.offset
        return statistic if self.limits is None else tf.clip_by_value(statistic, *self.limits)


class InferenceThreshold(InferenceLayer):
    r"""\\((x - mean) / deviation - TH\\) of an `InstaThreshold`, or of a static one.

    # Attributes
        alpha: Vector; `None` for 0.
        beta: Vector.
        branch: Arrays `(W1, b1, W2)` of INSTA-Th+; `None` for none.
        moments: Mean and deviation of batch normalisation in front; `None` for none.
        output_scale: By what its output is larger than that of the original, in front of signs,
            which do not see it; `None` for 1.
    """

    def __init__(
        self, layer: InstaThreshold | StaticThreshold, input_shape: tf.TensorShape
    ) -> None:
        super().__init__(layer, input_shape)
        self.alpha: np.ndarray | None = None
        self.beta = layer.beta.numpy()
        self.branch: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
        self.return_statistic = False
        self.moments: tuple[np.ndarray, np.ndarray] | None = None
        self.output_scale: np.ndarray | None = None
        if not isinstance(layer, InstaThreshold):
            return
        if layer.has_alpha:
            self.alpha = layer.alpha.numpy()
        self.branch_activation = layer.branch_activation
        if layer.reduction_ratio is not None:
            self.branch = layer.branch_weights()
        self.return_statistic = layer.return_statistic
        if layer.normalization == "batch":
            self.moments = _moments(layer)

    @property
    def degree(self) -> int | None:
        return _DEGREES.get(self.statistic or "")

    def call(self, x: tf.Tensor) -> Any:
        if self.moments is not None:
            mean, deviation = self.moments
            x = (x - mean) / deviation
        negated: Any = tf.constant(0 - self.beta)  # see InferencePReLU
        if self.statistic is None:
            return x + negated
        statistic = self.instance_statistic(x)
        if self.alpha is not None:
            negated = tf.constant(-self.alpha) * statistic + negated
        if self.branch is not None:
            negated = negated - self._branch(statistic, *self.branch)
        return [x + negated, statistic] if self.return_statistic else x + negated

    def _branch(
        self, statistic: tf.Tensor, reduce: np.ndarray, bias: np.ndarray, expand: np.ndarray
    ) -> tf.Tensor:
        squeezed = tf.reshape(statistic, (-1, reduce.shape[0]))
        excited = self.branch_activation(tf.nn.relu(squeezed @ reduce + bias) @ expand)
        return tf.reshape(excited, (-1, *[1] * (statistic.shape.rank - 2), expand.shape[1]))


class InferencePReLU(InferenceLayer):
    """An `InstaPReLU`, with its own statistic or one that is given.

    # Attributes
        parameters: A vector for each of gamma, slope and zeta.
        alphas: A vector for each instance-aware one of these.
    """

    def __init__(self, layer: InstaPReLU, input_shape: tf.TensorShape) -> None:
        super().__init__(layer, input_shape)
        self.parameters = {name: getattr(layer, name).numpy() for name in PARAMETERS}
        self.alphas = {
            name: getattr(layer, f"alpha_{name}").numpy() for name in layer.instance_aware
        }

    @property
    def own_statistic(self) -> bool:
        return self.statistic is not None and bool(self.alphas)

    def call(self, x: tf.Tensor, statistic: tf.Tensor | None = None) -> tf.Tensor:
        if self.own_statistic:
            statistic = self.instance_statistic(x)
        # Not -gamma: the converter knows how to leave 0 out, but not -0.
        negated = _affine(0 - self.parameters["gamma"], self.alphas.get("gamma"), statistic, -1)
        slope, zeta = (
            _affine(self.parameters[name], self.alphas.get(name), statistic)
            for name in ("slope", "zeta")
        )
        return shifted_prelu(x + negated, slope, zeta)


def _affine(
    value: np.ndarray, alpha: np.ndarray | None, statistic: tf.Tensor | None, sign: int = 1
) -> tf.Tensor:
    """A parameter, `sign * alpha * statistic + value`."""
    return tf.constant(value) if alpha is None else tf.constant(sign * alpha) * statistic + value


def _moments(layer: InstanceAware) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation that the layer's batch normalisation uses."""
    norm = layer.batch_norm
    return norm.moving_mean.numpy(), np.sqrt(norm.moving_variance.numpy() + norm.epsilon)


def _cube_sum(x: tf.Tensor, shift: np.ndarray | None) -> tf.Tensor:
    """Sum of `(x + shift)^3` over positions, `(batch, 1, ..., 1, channels)`."""
    shifted = x if shift is None else x + shift
    return _sum_of_products(shifted, shifted * shifted)


def _sum_of_products(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Over positions, `(batch, 1, ..., 1, channels)`."""
    if x.shape.rank == 4 and x.shape[0] == 1 and x.shape[-1] >= _MANY_CHANNELS:
        # A depthwise convolution whose filter is as large as the map: the products are not
        # written and read again, as a product and a mean would.
        kernel = tf.reshape(y, (*x.shape[1:], 1))
        return tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "VALID")
    positions = np.float32(np.prod(x.shape[1:-1], dtype=np.float64))
    # MEAN, not SUM, is what delegates take.
    return tf.reduce_mean(x * y, list(range(1, x.shape.rank - 1)), keepdims=True) * positions
