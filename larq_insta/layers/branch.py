"""The squeeze-and-excitation branch of INSTA-Th+, of which `InstaThreshold` tells."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import tensorflow as tf

from larq_insta.layers import statistics
from larq_insta.layers.channelwise import ChannelwiseLayer, build_inside, check_choice


class Branched(ChannelwiseLayer):
    """A layer with the branch; its weights stand beside the layer's own."""

    def set_branch(
        self, reduction_ratio: int | None, activation: Any, combination: str, scaling: str | None
    ) -> None:
        check_choice("branch_combination", combination, ("add", "replace"))
        check_choice("branch_scaling", scaling, ("fan_in", None))
        if reduction_ratio is not None and not _is_count(reduction_ratio):
            raise ValueError(
                "`reduction_ratio` must be None or at least 1, a whole number; got "
                f"{reduction_ratio!r}."
            )
        self.reduction_ratio = reduction_ratio
        self.branch_activation = tf.keras.activations.get(activation)
        self.branch_combination = combination
        self.branch_scaling = scaling

    def build_branch(self) -> None:
        channels = self.input_spec.axes[-1]
        hidden = max(1, channels // self.reduction_ratio)
        wide = statistics.wide_dtype(self.dtype)
        scaled = self.branch_scaling is not None
        if scaled:
            # Apart from the kernel: it is added to the divided sum, and weights of the other
            # form, which has the same shapes else, cannot be loaded by mistake.
            self.branch_bias = self.add_weight(
                name="branch_bias",
                shape=(hidden,),
                initializer="zeros",
                experimental_autocast=False,
            )
        self.branch_reduce = tf.keras.layers.Dense(
            hidden,
            use_bias=not scaled,
            # He's, of the sum as it is used.
            kernel_initializer=tf.keras.initializers.VarianceScaling(
                2.0 * channels**2 if scaled else 2.0
            ),
            dtype=wide,
            name="branch_reduce",
        )
        self.branch_expand = tf.keras.layers.Dense(
            channels, use_bias=False, kernel_initializer="zeros", dtype=wide, name="branch_expand"
        )
        build_inside(self.branch_reduce, (None, channels))
        build_inside(self.branch_expand, (None, hidden))

    def branch(self, statistic: tf.Tensor) -> tf.Tensor:
        """Of a statistic `(batch, 1, ..., 1, channels)`, of the same shape."""
        channels = self.input_spec.axes[-1]
        squeezed = self.branch_reduce(tf.reshape(statistic, (-1, channels)))
        if self.branch_scaling is not None:
            squeezed = squeezed / channels + tf.cast(self.branch_bias, squeezed.dtype)
        excited = self.branch_expand(tf.nn.relu(squeezed))
        if self.branch_scaling is not None:
            excited = excited / self.branch_reduce.units
        excited = self.branch_activation(excited)
        return tf.reshape(excited, (-1, *[1] * (statistic.shape.rank - 2), channels))

    def branch_weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`W_1 / C`, `b_1` and `W_2 / H`, of shapes `(C, H)`, `(H,)` and `(H, C)`."""
        reduce, expand = self.branch_reduce.kernel.numpy(), self.branch_expand.kernel.numpy()
        if self.branch_scaling is None:
            return reduce, self.branch_reduce.bias.numpy(), expand
        return reduce / reduce.shape[0], self.branch_bias.numpy(), expand / expand.shape[0]

    def branch_config(self) -> dict[str, Any]:
        return {
            "reduction_ratio": self.reduction_ratio,
            "branch_activation": tf.keras.activations.serialize(self.branch_activation),
            "branch_combination": self.branch_combination,
            "branch_scaling": self.branch_scaling,
        }


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and int(value) >= 1
