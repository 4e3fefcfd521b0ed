"""A binary residual network in general, for zookeeper to configure.

A model is a `BinaryNetFactory`: its `body` composes the functions of `blocks`, and takes the
factory's variable parts, `shift` (in front of a sign), `conv` and `activation`.
"""

from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import larq as lq
import tensorflow as tf
from larq_zoo.core import utils
from larq_zoo.core.model_factory import ModelFactory
from zookeeper import Field

from larq_insta.layers import HalfTurn, RPReLU, StaticThreshold
from larq_insta.zoo.blocks import BINARY, binary_conv
from larq_insta.zoo.options import Options, fields_of
from larq_insta_runtime import packaged
from larq_insta_runtime.errors import first_line

FLOAT_WEIGHTS: dict[str, dict[str, Any]] = {
    "float32": {},
    "int8": {"kernel_quantizer": "int8_weights"},
}
"""What weights that are not binary may be rounded to, and the layers' arguments for that."""

_CHOICES = {"stem": ("imagenet", "small"), "binary": BINARY, "float_weights": tuple(FLOAT_WEIGHTS)}


@fields_of(Options)
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
        self._check_shape()
        for name, choices in _CHOICES.items():
            value, known = getattr(self, name), [repr(choice) for choice in choices]
            if value not in choices:
                raise ValueError(
                    f"`{name}` must be {', '.join(known[:-1])} or {known[-1]}; got {value!r}."
                )
        if self.pad_values not in (0, 1):  # what Larq Compute Engine knows
            raise ValueError(f"`pad_values` must be 0 or 1; got {self.pad_values}.")
        if not self.filters or not all(isinstance(x, Integral) and x > 0 for x in self.filters):
            raise ValueError(f"`filters` must be positive numbers; got {self.filters}.")
        if self.num_classes < 1:
            raise ValueError(f"`num_classes` must be at least 1; got {self.num_classes}.")
        if self.weights == "imagenet":
            raise ValueError(
                f"There are no ImageNet weights for {self.model_name}: nobody has published "
                "any; use weights=None and train, or give the path of your weights."
            )
        if self.weights is not None and not Path(self.weights).is_file():
            raise ValueError(
                "`weights` must be None, the path of a weights file or a trained model's name "
                f"({', '.join(packaged.MODELS)}); got {self.weights!r}, which "
                f"{'is a folder' if Path(self.weights).is_dir() else 'does not exist'}."
            )

    def _check_shape(self) -> None:
        shape = self.input_shape
        if self.input_tensor is not None:
            if not tf.is_tensor(self.input_tensor):
                raise ValueError(
                    f"`input_tensor` must be a tensor; got {type(self.input_tensor).__name__}."
                )
            shape = tuple(self.input_tensor.shape[1:])
        if shape is not None and (len(shape) != 3 or (shape[-1] or 0) < 1):
            raise ValueError(
                f"`input_shape` must be (height, width, channels) with channels known; got {shape}."
            )
        smallest = 32 if self.stem == "imagenet" else 8
        if shape is not None and any(size is not None and size < smallest for size in shape[:2]):
            raise ValueError(
                f"Images must have at least {smallest} x {smallest} pixels with "
                f"stem={self.stem!r}; got input shape {shape}"
                + (": use stem='small'." if self.stem == "imagenet" else ".")
            )

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
        x = kind(self.num_classes, name="head_logits", **self._quantized)(x)
        return tf.keras.layers.Softmax(dtype=tf.float32, name="head_probs")(x)

    def build(self) -> tf.keras.Model:
        inputs = self.image_input
        x = HalfTurn(name="half_turn")(inputs) if self.half_turn else inputs
        x = self.body(x)
        if self.include_top:
            x = self.head(x)
        model = tf.keras.Model(inputs=inputs, outputs=x, name=self.model_name)
        if self.weights is not None:
            self._load_weights(model)
        return model

    def _load_weights(self, model: tf.keras.Model) -> None:
        try:
            model.load_weights(self.weights)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"`weights` must be a file of this model's weights; got {self.weights!r} "
                f"({first_line(error)}): use the arguments that it was saved with."
            ) from error
