"""MobileNetV1 with binary 3x3 and 1x1 convolutions: ReActNetA and InstaMobileNetV1."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import tensorflow as tf
from zookeeper import Field, factory

from larq_insta.pretrained import takes_names
from larq_insta.zoo.blocks import (
    INSTA_BLOCKS,
    BinaryNetFactory,
    WithInstaLayers,
    add,
    as_tuple,
    batch_norm,
    halve,
)

FILTERS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)


@factory
class ReActNetAFactory(BinaryNetFactory):
    """MobileNetV1 with static thresholds."""

    model_name: str = Field("reactnet_a")
    filters: tuple[int, ...] = Field(FILTERS)

    def _check(self) -> None:
        super()._check()
        for before, after in pairwise(self.filters):
            if after not in (before, 2 * before):
                raise ValueError(
                    "Each of `filters` must equal its predecessor or be twice as large; "
                    f"got {after} after {before}."
                )

    def _blocks(self) -> Iterator[tuple[str, int, int, bool]]:
        """Names, widths before and after, and whether the map is halved."""
        for block, (before, after) in enumerate(pairwise(self.filters), start=1):
            yield f"block{block}", before, after, after > before and block > 1

    def map_sizes(self) -> dict[str, int]:
        sizes, halvings = {}, 0
        for name, _, _, downsample in self._blocks():
            sizes[f"{name}_spatial"] = halvings
            halvings += downsample
            sizes[f"{name}_pointwise"] = halvings
        return sizes

    def body(self, x: tf.Tensor) -> tf.Tensor:
        strides = 2 if self.stem == "imagenet" else 1
        x = batch_norm(self.float_conv(x, self.filters[0], 3, "stem", strides=strides), "stem")
        for name, before, after, downsample in self._blocks():
            x = self._spatial(x, f"{name}_spatial", downsample)
            x = self._pointwise(x, f"{name}_pointwise", widen=after > before)
        return x

    def _spatial(self, x: tf.Tensor, name: str, downsample: bool) -> tf.Tensor:
        """Binary 3x3 convolution, the shortcut pooled where the map is halved."""
        shifted, statistic = self.shift(x, name)
        y = self.conv(shifted, x.shape[-1], 3, name, strides=2 if downsample else 1)
        shortcut = halve(x, f"{name}_shortcut") if downsample else x
        return self.activation(add(batch_norm(y, name), shortcut, name), name, statistic)

    def _pointwise(self, x: tf.Tensor, name: str, widen: bool) -> tf.Tensor:
        """Binary 1x1 convolution, or two side by side to double the width."""
        shifted, statistic = self.shift(x, name)
        names = [f"{name}_a", f"{name}_b"] if widen else [name]
        halves = [add(batch_norm(self.conv(shifted, x.shape[-1], 1, n), n), x, n) for n in names]
        y = tf.keras.layers.Concatenate(name=f"{name}_concat")(halves) if widen else halves[0]
        return self.activation(y, name, statistic)


@factory
class InstaMobileNetV1Factory(WithInstaLayers, ReActNetAFactory):
    """MobileNetV1 with instance-aware thresholds and PReLUs."""

    model_name: str = Field("insta_mobilenet_v1")


@takes_names
def ReActNetA(
    *,
    input_shape: Sequence[int | None] | None = None,
    input_tensor: tf.Tensor | None = None,
    weights: str | None = None,
    include_top: bool = True,
    num_classes: int = 1000,
    stem: str = "imagenet",
    binary: str = "both",
    float_weights: str = "float32",
    pad_values: float = 1.0,
    half_turn: bool = False,
    filters: Sequence[int] = FILTERS,
) -> tf.keras.Model:
    """Instantiates ReActNet-A, the baseline of `InstaMobileNetV1` with static thresholds.

    # ImageNet Metrics

    | Top-1 Accuracy              | Parameters | Memory   |
    | --------------------------- | ---------- | -------- |
    | 69.4 % (the ReActNet paper) | 29 365 480 | 7.53 MiB |

    # Arguments
        input_shape: `(height, width, channels)`, by default `(224, 224, 3)`; at least 32
            pixels, or 8 with the small stem.
        input_tensor: Keras tensor to use as image input.
        weights: `None` (random initialization) or the path of a weights file.
        include_top: Whether to end with the classifier.
        num_classes: Number of classes of the classifier.
        stem: `"imagenet"` (stride 2) or `"small"` (stride 1) for small pictures.
        binary: What binary convolutions have binary: `"both"` activations and weights, only
            `"activations"` (ReActNet's first training step), or `"neither"` (a float model
            of the same layers, such as a teacher).
        float_weights: `"float32"`, or `"int8"` to round the weights of float convolutions
            and the classifier as `larq-insta convert --float-weights int8` stores them, so
            that the smaller file computes what was trained.
        pad_values: What surrounds the signs in front of binary convolutions, 1 or 0.
        half_turn: Whether pictures are turned by 180 degrees first, as weights from
            PyTorch need it; see `HalfTurn` and `larq_insta.weights.load_reactnet`.
        filters: Width of the stem, then of each block; each equals its predecessor or is
            twice as large, and every doubling but the first block's halves the map.

    # Returns
        A functional Keras model; its output is `(batch, num_classes)` probabilities, or
        the last map `(batch, height, width, channels)` without top.

    # Raises
        ValueError: if an argument is invalid; `weights="imagenet"` too, as none exist.

    # References
        - [ReActNet: Towards Precise Binary Neural Network with Generalized Activation
            Functions](https://arxiv.org/abs/2003.03488)
    """
    return ReActNetAFactory(
        input_shape=as_tuple("input_shape", input_shape),
        input_tensor=input_tensor,
        weights=weights,
        include_top=include_top,
        num_classes=num_classes,
        stem=stem,
        binary=binary,
        float_weights=float_weights,
        pad_values=pad_values,
        half_turn=half_turn,
        filters=as_tuple("filters", filters),
    ).build()


@takes_names
def InstaMobileNetV1(
    *,
    input_shape: Sequence[int | None] | None = None,
    input_tensor: tf.Tensor | None = None,
    weights: str | None = None,
    include_top: bool = True,
    num_classes: int = 1000,
    stem: str = "imagenet",
    binary: str = "both",
    float_weights: str = "float32",
    pad_values: float = 1.0,
    half_turn: bool = False,
    filters: Sequence[int] = FILTERS,
    plus: bool = False,
    insta_blocks: str | Sequence[str] = INSTA_BLOCKS,
    reuse_statistics: bool = True,
    threshold: Mapping[str, Any] | None = None,
    prelu: Mapping[str, Any] | None = None,
) -> tf.keras.Model:
    """Instantiates INSTA-BNN on MobileNetV1.

    With all alphas at zero, where they start, it computes what `ReActNetA` computes.

    # ImageNet Metrics

    | Form | Top-1 Accuracy               | Parameters | Memory   |
    | ---- | ---------------------------- | ---------- | -------- |
    | base |                              | 29 409 448 | 7.70 MiB |
    | plus | 72.2 % (the INSTA-BNN paper) | 29 758 170 | 9.03 MiB |

    # Arguments
        input_shape: `(height, width, channels)`, by default `(224, 224, 3)`; at least 32
            pixels, or 8 with the small stem.
        input_tensor: Keras tensor to use as image input.
        weights: `None` (random initialization) or the path of a weights file.
        include_top: Whether to end with the classifier.
        num_classes: Number of classes of the classifier.
        stem: `"imagenet"` (stride 2) or `"small"` (stride 1) for small pictures.
        binary: What binary convolutions have binary: `"both"` activations and weights, only
            `"activations"` (ReActNet's first training step), or `"neither"` (a float model
            of the same layers, such as a teacher).
        float_weights: `"float32"`, or `"int8"` to round the weights of float convolutions
            and the classifier as `larq-insta convert --float-weights int8` stores them, so
            that the smaller file computes what was trained.
        pad_values: What surrounds the signs in front of binary convolutions, 1 or 0.
        half_turn: Whether pictures are turned by 180 degrees first, as weights from
            PyTorch need it; see `HalfTurn` and `larq_insta.weights.load_reactnet`.
        filters: Width of the stem, then of each block; each equals its predecessor or is
            twice as large, and every doubling but the first block's halves the map.
        plus: Whether thresholds are INSTA-Th+ instead of INSTA-Th.
        insta_blocks: Which blocks are instance-aware, the others being ReActNet's: `"all"`;
            `"all_but_largest_maps"`, those whose input is smaller than the first block's;
            or names of blocks or their beginnings, such as
            `["block3", "block4_spatial"]`.
        reuse_statistics: Whether a block's PReLU uses the statistic that its threshold has
            computed, instead of its own; not where the block widens, whose PReLU has more
            channels.
        threshold: Arguments of every `InstaThreshold`, such as
            `{"normalization": "batch"}`; unlike the layer's own defaults, the models'
            normalization is `"statistic"`, with a `statistic_bound` of 8.
        prelu: Arguments of every `InstaPReLU`, likewise; `{"instance_aware": ()}` makes it
            ReActNet's RPReLU. Its statistic can be set only if none is reused.

    # Returns
        A functional Keras model; its output is `(batch, num_classes)` probabilities, or
        the last map `(batch, height, width, channels)` without top.

    # Raises
        ValueError: if an argument is invalid; `weights="imagenet"` too, as none exist.

    # References
        - [INSTA-BNN: Binary Neural Network with INSTAnce-aware
            Threshold](https://arxiv.org/abs/2204.07439)
    """
    return InstaMobileNetV1Factory(
        input_shape=as_tuple("input_shape", input_shape),
        input_tensor=input_tensor,
        weights=weights,
        include_top=include_top,
        num_classes=num_classes,
        stem=stem,
        binary=binary,
        float_weights=float_weights,
        pad_values=pad_values,
        half_turn=half_turn,
        filters=as_tuple("filters", filters),
        plus=plus,
        insta_blocks=as_tuple("insta_blocks", insta_blocks),
        reuse_statistics=reuse_statistics,
        threshold=threshold,
        prelu=prelu,
    ).build()
