"""ResNet-18 with one binary convolution a block: ReActNet18 and InstaResNet18."""

from collections.abc import Mapping, Sequence
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

BLOCKS_PER_STAGE = 4


@factory
class ReActNet18Factory(BinaryNetFactory):
    """ResNet-18 with static thresholds."""

    model_name: str = Field("reactnet18")
    filters: tuple[int, ...] = Field((64, 128, 256, 512))

    def map_sizes(self) -> dict[str, int]:
        # The first block of a stage halves its map, but reads the larger one.
        return {
            f"stage{stage}_block{block}": stage - 2 if stage > 1 and block == 1 else stage - 1
            for stage in range(1, len(self.filters) + 1)
            for block in range(1, BLOCKS_PER_STAGE + 1)
        }

    def body(self, x: tf.Tensor) -> tf.Tensor:
        x = self._stem(x)
        for stage, filters in enumerate(self.filters, start=1):
            for block in range(1, BLOCKS_PER_STAGE + 1):
                x = self._block(x, filters, f"stage{stage}_block{block}", stage > 1 and block == 1)
        return x

    def _stem(self, x: tf.Tensor) -> tf.Tensor:
        if self.stem == "small":
            return batch_norm(self.float_conv(x, self.filters[0], 3, "stem"), "stem")
        x = batch_norm(self.float_conv(x, self.filters[0], 7, "stem", strides=2), "stem")
        return tf.keras.layers.MaxPool2D(3, strides=2, padding="same", name="stem_pool")(x)

    def _block(self, x: tf.Tensor, filters: int, name: str, downsample: bool) -> tf.Tensor:
        shortcut = x
        if downsample:
            shortcut_name = f"{name}_shortcut"
            shortcut = self.float_conv(halve(x, shortcut_name), filters, 1, shortcut_name)
            shortcut = batch_norm(shortcut, shortcut_name)
        shifted, statistic = self.shift(x, name)
        y = self.conv(shifted, filters, 3, name, strides=2 if downsample else 1)
        y = add(batch_norm(y, name), shortcut, name)
        return self.activation(y, name, statistic)


@factory
class InstaResNet18Factory(WithInstaLayers, ReActNet18Factory):
    """ResNet-18 with instance-aware thresholds and PReLUs."""

    model_name: str = Field("insta_resnet18")


@takes_names
def ReActNet18(
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
    filters: Sequence[int] = (64, 128, 256, 512),
) -> tf.keras.Model:
    """Instantiates ReActNet-18, the baseline of `InstaResNet18` with static thresholds.

    # ImageNet Metrics

    | Top-1 Accuracy              | Parameters | Memory   |
    | --------------------------- | ---------- | -------- |
    | 65.5 % (the ReActNet paper) | 11 714 024 | 4.05 MiB |

    # Arguments
        input_shape: `(height, width, channels)`, by default `(224, 224, 3)`; at least 32
            pixels, or 8 with the small stem.
        input_tensor: Keras tensor to use as image input.
        weights: `None` (random initialization) or the path of a weights file.
        include_top: Whether to end with the classifier.
        num_classes: Number of classes of the classifier.
        stem: `"imagenet"` (7x7 convolution of stride 2 and max-pooling) or `"small"` (3x3
            convolution of stride 1) for small pictures.
        binary: What binary convolutions have binary: `"both"` activations and weights, only
            `"activations"` (ReActNet's first training step), or `"neither"` (a float model
            of the same layers, such as a teacher).
        float_weights: `"float32"`, or `"int8"` to round the weights of float convolutions
            and the classifier as `larq-insta convert --float-weights int8` stores them, so
            that the smaller file computes what was trained.
        pad_values: What surrounds the signs in front of binary convolutions, 1 or 0.
        half_turn: Whether pictures are turned by 180 degrees first, as weights from
            PyTorch need it; see `HalfTurn` and `larq_insta.weights.load_reactnet`.
        filters: Width of each stage; every stage but the first halves the map.

    # Returns
        A functional Keras model; its output is `(batch, num_classes)` probabilities, or
        the last map `(batch, height, width, channels)` without top.

    # Raises
        ValueError: if an argument is invalid; `weights="imagenet"` too, as none exist.

    # References
        - [ReActNet: Towards Precise Binary Neural Network with Generalized Activation
            Functions](https://arxiv.org/abs/2003.03488)
    """
    return ReActNet18Factory(
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
def InstaResNet18(
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
    filters: Sequence[int] = (64, 128, 256, 512),
    plus: bool = False,
    insta_blocks: str | Sequence[str] = INSTA_BLOCKS,
    reuse_statistics: bool = True,
    threshold: Mapping[str, Any] | None = None,
    prelu: Mapping[str, Any] | None = None,
) -> tf.keras.Model:
    """Instantiates INSTA-BNN on ResNet-18.

    With all alphas at zero, where they start, it computes what `ReActNet18` computes.

    # ImageNet Metrics

    | Form | Top-1 Accuracy               | Parameters | Memory   |
    | ---- | ---------------------------- | ---------- | -------- |
    | base | 68.5 % (the INSTA-BNN paper) | 11 728 232 | 4.11 MiB |
    | plus |                              | 11 797 960 | 4.37 MiB |

    # Arguments
        input_shape: `(height, width, channels)`, by default `(224, 224, 3)`; at least 32
            pixels, or 8 with the small stem.
        input_tensor: Keras tensor to use as image input.
        weights: `None` (random initialization), the path of a weights file, or
            `"fashion_mnist"`: the trained model in the package, whose other arguments
            (widths 16, 32, 64, the small stem, 28 x 28 grey pixels, 10 classes) then are
            the defaults.
        include_top: Whether to end with the classifier.
        num_classes: Number of classes of the classifier.
        stem: `"imagenet"` (7x7 convolution of stride 2 and max-pooling) or `"small"` (3x3
            convolution of stride 1) for small pictures.
        binary: What binary convolutions have binary: `"both"` activations and weights, only
            `"activations"` (ReActNet's first training step), or `"neither"` (a float model
            of the same layers, such as a teacher).
        float_weights: `"float32"`, or `"int8"` to round the weights of float convolutions
            and the classifier as `larq-insta convert --float-weights int8` stores them, so
            that the smaller file computes what was trained.
        pad_values: What surrounds the signs in front of binary convolutions, 1 or 0.
        half_turn: Whether pictures are turned by 180 degrees first, as weights from
            PyTorch need it; see `HalfTurn` and `larq_insta.weights.load_reactnet`.
        filters: Width of each stage; every stage but the first halves the map.
        plus: Whether thresholds are INSTA-Th+ instead of INSTA-Th.
        insta_blocks: Which blocks are instance-aware, the others being ReActNet's: `"all"`;
            `"all_but_largest_maps"`, those whose input is smaller than the first block's;
            or names of blocks or their beginnings, such as
            `["stage3", "stage4_block1"]`.
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
    return InstaResNet18Factory(
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
