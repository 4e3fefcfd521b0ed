"""Binary residual networks, as functions of tensors that all models share.

A model is a `BinaryNetFactory`: its `body` composes the block functions, which take the
factory's variable parts, `shift` (in front of a sign), `conv` and `activation`, from it.
"""

from collections.abc import Iterable, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

import larq as lq
import tensorflow as tf
from larq_zoo.core import utils
from larq_zoo.core.model_factory import ModelFactory
from zookeeper import Field

import larq_insta.quantizers  # noqa: F401  (registers "lean_approx_sign")
from larq_insta import pretrained
from larq_insta.errors import first_line
from larq_insta.layers import HalfTurn, InstaPReLU, InstaThreshold, RPReLU, StaticThreshold

REDUCTION_RATIO = 32
"""Of INSTA-Th+ in the "plus" models; a ratio that fits the size of INSTA-BNN+."""

NORMALIZATION = "statistic"
"""Of all statistics in the models: with raw cubes in the PReLUs training is far less steady.
Chosen by our study, table ResNet18 of `studies/thresholds/report.md`: no other is shown to be
better."""

STATISTIC_BOUND = 8.0
"""Of them too. Normalised over 64 instances none can be larger in training; without a bound, one
picture in thousands makes cubes of cubes until they are not finite. Chosen by our study, same
table: a tighter one is not shown to be better."""


def batch_norm(x: tf.Tensor, name: str) -> tf.Tensor:
    """Batch normalisation with the momentum and epsilon of PyTorch, as in ReActNet."""
    return tf.keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, name=f"{name}_batch_norm"
    )(x)


FLOAT_WEIGHTS: dict[str, dict[str, Any]] = {
    "float32": {},
    "int8": {"kernel_quantizer": "int8_weights"},
}
"""What weights that are not binary may be rounded to, and the layers' arguments for that."""

BINARY = ("both", "activations", "neither")
"""What convolutions may have binary: activations and weights, only these, or none."""

_CHOICES = {"stem": ("imagenet", "small"), "binary": BINARY, "float_weights": tuple(FLOAT_WEIGHTS)}


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

    `binary` tells which of the two are binary; see `BINARY`. `pad_values` surround signs.
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


def as_tuple(name: str, values: Any) -> Any:
    """A sequence as fields take it; `None` and names stay."""
    if values is None or isinstance(values, str):
        return values
    if not isinstance(values, Iterable):
        raise ValueError(f"`{name}` must be a sequence; got {values!r}: write ({values!r}, ...).")
    return tuple(values)


class BinaryNetFactory(ModelFactory):
    """A network with ReActNet's static thresholds and activations.

    Subclasses give `model_name`, `filters` and `body`, and may override `shift` and
    `activation`. Layers have the same names in all kinds of one topology, so that
    weights can go from one to another by name: from a first training step with float
    weights (`binary="activations"`), or as features of a float teacher (`"neither"`).
    """

    model_name: str = Field()
    filters: tuple[int, ...] = Field()
    stem: str = Field("imagenet")
    binary: str = Field("both")
    float_weights: str = Field("float32")
    pad_values: float = Field(1.0)
    half_turn: bool = Field(False)
    input_shape: tuple[int | None, ...] | None = Field(None)
    # Larq Zoo's own type for it refuses this TensorFlow's Keras tensors.
    input_tensor: Any = Field(None)

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
                f"({', '.join(pretrained.MODELS)}); got {self.weights!r}, which "
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


INSTA_BLOCKS = "all_but_largest_maps"
"""Of the models: a statistic costs as much as its map is large. Chosen by our study, table
ResNet18 of `studies/thresholds/report.md`: it is not shown to be worse than all blocks."""


class WithInstaLayers(BinaryNetFactory):
    """Makes a `BinaryNetFactory` instance-aware: INSTA-Th (or INSTA-Th+) and INSTA-PReLU."""

    plus: bool = Field(False)
    insta_blocks: str | tuple[str, ...] = Field(INSTA_BLOCKS)
    reuse_statistics: bool = Field(True)
    threshold: Mapping[str, Any] | None = Field(None)
    prelu: Mapping[str, Any] | None = Field(None)

    def _check(self) -> None:
        super()._check()
        self._selected()
        own = {"statistic", "normalization", "statistic_bound"} & set(self.prelu or {})
        if self.reuse_statistics and own:
            raise ValueError(
                "`prelu` must not set what a reused statistic is; got "
                f"{', '.join(sorted(own))}: set it in `threshold`, or reuse_statistics=False."
            )

    def _selected(self) -> set[str]:
        """The blocks with instance-aware layers; the others are ReActNet's."""
        blocks = self.map_sizes()
        if self.insta_blocks == "all":
            return set(blocks)
        if self.insta_blocks == "all_but_largest_maps":
            selected = {name for name, halvings in blocks.items() if halvings > 0}
        elif isinstance(self.insta_blocks, str):
            selected = _of_prefix(blocks, self.insta_blocks)
        else:
            selected = {x for prefix in self.insta_blocks for x in _of_prefix(blocks, prefix)}
        if not selected:
            raise ValueError(
                f"`insta_blocks` must leave some of {', '.join(blocks)}; got "
                f"{self.insta_blocks!r}, which leaves none: give 'all', or build the static model."
            )
        return selected

    def shift(self, x: tf.Tensor, name: str) -> tuple[tf.Tensor, tf.Tensor | None]:
        if name not in self._selected():
            return super().shift(x, name)
        options: dict[str, Any] = {}
        if self.plus:
            options["reduction_ratio"] = REDUCTION_RATIO
        if self.reuse_statistics and self._prelu.get("instance_aware", ("gamma",)):
            options["return_statistic"] = True
        options |= self.threshold or {}
        options = _with_steady_statistic(options)
        shifted = _configured(InstaThreshold, options, f"{name}_threshold")(x)
        return tuple(shifted) if isinstance(shifted, list) else (shifted, None)

    def activation(self, x: tf.Tensor, name: str, statistic: tf.Tensor | None) -> tf.Tensor:
        if name not in self._selected():
            return super().activation(x, name, statistic)
        if statistic is None or statistic.shape[-1] != x.shape[-1]:
            options = _with_steady_statistic(self._prelu)
            return _configured(InstaPReLU, options, f"{name}_prelu")(x)
        options = {"statistic": None, **self._prelu}
        return _configured(InstaPReLU, options, f"{name}_prelu")(x, statistic=statistic)

    @property
    def _prelu(self) -> Mapping[str, Any]:
        return self.prelu or {}


def _of_prefix(blocks: Iterable[str], prefix: str) -> set[str]:
    selected = {name for name in blocks if name == prefix or name.startswith(f"{prefix}_")}
    if not selected:
        raise ValueError(
            "`insta_blocks` must be 'all', 'all_but_largest_maps' or some of "
            f"{', '.join(blocks)} or their beginnings; got {prefix!r}."
        )
    return selected


def _with_steady_statistic(options: Mapping[str, Any]) -> dict[str, Any]:
    options = {"normalization": NORMALIZATION, **options}
    if options["normalization"] == NORMALIZATION:
        options.setdefault("statistic_bound", STATISTIC_BOUND)
    return options


def _configured(
    kind: type[tf.keras.layers.Layer], options: Mapping[str, Any], name: str
) -> tf.keras.layers.Layer:
    try:
        return kind(**options, name=name)
    except TypeError as error:
        raise ValueError(
            f"Settings must be arguments of {kind.__name__}; got {dict(options)}: {error}."
        ) from error
