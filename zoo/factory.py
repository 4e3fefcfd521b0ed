"""A binary residual network in general, for zookeeper to configure.

A model is a `BinaryNetFactory`: its `body` composes the functions of `blocks`, and takes the
factory's variable parts, `shift` (in front of a sign), `conv` and `activation`.
"""

from collections.abc import Sequence
from typing import Any

import larq as lq
import tensorflow as tf
from larq_zoo.core import utils
from larq_zoo.core.model_factory import ModelFactory
from zookeeper import Field

from larq_insta.layers import HalfTurn, RPReLU, StaticThreshold
from larq_insta.rewriting.forms import BINARY
from larq_insta.zoo.arguments import (
    check_choices,
    check_classes,
    check_filters,
    check_weights,
    input_shape,
    load_weights,
)
from larq_insta.zoo.blocks import binary_conv
from larq_insta.zoo.options import CommonOptions, Options, fields_of
from larq_insta.zoo.pretrained import HEAD, PROBABILITIES

FLOAT_WEIGHTS: dict[str, dict[str, Any]] = {
    "float32": {},
    "int8": {"kernel_quantizer": "int8_weights"},
}
"""What weights that are not binary may be rounded to, and the layers' arguments for that."""

_CHOICES = {"stem": ("imagenet", "small"), "binary": BINARY, "float_weights": tuple(FLOAT_WEIGHTS)}


@fields_of(CommonOptions, Options)
class BinaryNetFactory(ModelFactory):
    """A network with ReActNet's static thresholds and activations.

    Subclasses give `model_name`, `filters` and `body`, and may override `shift` and
    `activation`. Layers have the same names in all kinds of one topology, so that
    weights can go from one to another by name: from a first training step with float
    weights (`binary="activations"`), or as features of a float teacher (`"neither"`).
    """

    model_name: str = Field()
    filters: Sequence[int] = Field()

    @property
    def image_input(self) -> utils.TensorType:
        self._check()
        return super().image_input

    def _check(self) -> None:
        input_shape(self.input_shape, self.input_tensor, self.stem)
        check_choices(self, _CHOICES)
        if self.pad_values not in (0, 1):  # what Larq Compute Engine knows
            raise ValueError(f"`pad_values` must be 0 or 1; got {self.pad_values}.")
        check_filters(self.filters)
        check_classes(self.num_classes)
        if self.weights == "imagenet":
            raise ValueError(
                f"There are no ImageNet weights for {self.model_name}: nobody has published "
                "any; use weights=None and train, or give the path of your weights."
            )
        check_weights(self.weights)

    def shift(self, x: tf.Tensor, name: str) -> tuple[tf.Tensor, tf.Tensor | None]:
        """What stands in front of a sign, `x - threshold`, and a statistic of `x` for reuse."""
        return StaticThreshold(name=f"{name}_threshold")(x), None

    def conv(
        self, x: tf.Tensor, filters: int, kernel_size: int, name: str, strides: int = 1
    ) -> tf.Tensor:
        return binary_conv(x, filters, kernel_size, name, strides, self.binary, self.pad_values)

    @property
    def _quantized(self) -> dict[str, Any]:
        """Arguments of layers that are not binary."""
        return FLOAT_WEIGHTS[self.float_weights]

    def float_conv(
        self, x: tf.Tensor, filters: int, kernel_size: int, name: str, strides: int = 1
    ) -> tf.Tensor:
        """Convolution without bias, nothing of it binary."""
        kind = lq.layers.QuantConv2D if self._quantized else tf.keras.layers.Conv2D
        return kind(
            filters,
            kernel_size,
            strides=strides,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"{name}_conv",
            **self._quantized,
        )(x)

    def activation(
        self,
        x: tf.Tensor,
        name: str,
        statistic: tf.Tensor | None,  # noqa: ARG002
    ) -> tf.Tensor:
        """What stands behind the block of that `shift`, with the statistic that it gave."""
        return RPReLU(name=f"{name}_prelu")(x)

    def map_sizes(self) -> dict[str, int]:
        """How often the input's map was halved since the stem, for each block in order."""
        raise NotImplementedError

    def body(self, x: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def head(self, x: tf.Tensor) -> tf.Tensor:
        x = utils.global_pool(x, name="head_global")
        kind = lq.layers.QuantDense if self._quantized else tf.keras.layers.Dense
        x = kind(self.num_classes, name=HEAD, **self._quantized)(x)
        return tf.keras.layers.Softmax(dtype=tf.float32, name=PROBABILITIES)(x)

    def build(self) -> tf.keras.Model:
        inputs = self.image_input
        x = HalfTurn(name="half_turn")(inputs) if self.half_turn else inputs
        x = self.body(x)
        if self.include_top:
            x = self.head(x)
        model = tf.keras.Model(inputs=inputs, outputs=x, name=self.model_name)
        if self.weights is not None:
            load_weights(model, self.weights)
        return model
