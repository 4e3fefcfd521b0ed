"""ResNet-18 with one binary convolution a block: ReActNet18 and InstaResNet18."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tensorflow as tf
from zookeeper import Field, factory

from larq_insta.zoo.blocks import add, batch_norm, halve
from larq_insta.zoo.factory import BinaryNetFactory
from larq_insta.zoo.instance_aware import WithInstaLayers
from larq_insta.zoo.options import InstaOptions, Options, fields_of, model_function

BLOCKS_PER_STAGE = 4
FILTERS = (64, 128, 256, 512)


@dataclass(frozen=True, kw_only=True)
class ReActNet18Options(Options):
    """Arguments of `ReActNet18`."""

    filters: Annotated[
        Sequence[int],
        "Width of each stage; every stage but the first halves the map.",
    ] = FILTERS


@dataclass(frozen=True, kw_only=True)
class InstaResNet18Options(InstaOptions, ReActNet18Options):
    """Arguments of `InstaResNet18`."""


@factory
@fields_of(ReActNet18Options)
class ReActNet18Factory(BinaryNetFactory):
    """ResNet-18 with static thresholds."""

    model_name: str = Field("reactnet18")

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


@model_function(ReActNet18Options)
def ReActNet18(options: ReActNet18Options) -> tf.keras.Model:
    """Instantiates ReActNet-18, the baseline of `InstaResNet18` with static thresholds.

    # ImageNet Metrics

    | Top-1 Accuracy              | Parameters | Memory   |
    | --------------------------- | ---------- | -------- |
    | 65.5 % (the ReActNet paper) | 11 714 024 | 4.05 MiB |

    # References
        - [ReActNet: Towards Precise Binary Neural Network with Generalized Activation
            Functions](https://arxiv.org/abs/2003.03488)
    """
    return ReActNet18Factory(**vars(options)).build()


@model_function(InstaResNet18Options)
def InstaResNet18(options: InstaResNet18Options) -> tf.keras.Model:
    """Instantiates INSTA-BNN on ResNet-18.

    With all alphas at zero, where they start, it computes what `ReActNet18` computes.

    # ImageNet Metrics

    | Form | Top-1 Accuracy               | Parameters | Memory   |
    | ---- | ---------------------------- | ---------- | -------- |
    | base | 68.5 % (the INSTA-BNN paper) | 11 728 232 | 4.11 MiB |
    | plus |                              | 11 797 960 | 4.37 MiB |

    # References
        - [INSTA-BNN: Binary Neural Network with INSTAnce-aware
            Threshold](https://arxiv.org/abs/2204.07439)
    """
    return InstaResNet18Factory(**vars(options)).build()
