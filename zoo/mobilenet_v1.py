"""MobileNetV1 with binary 3x3 and 1x1 convolutions: ReActNetA and InstaMobileNetV1."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import tensorflow as tf
from zookeeper import Field, factory

from larq_insta.zoo.blocks import add, batch_norm, halve
from larq_insta.zoo.factory import BinaryNetFactory
from larq_insta.zoo.instance_aware import WithInstaLayers
from larq_insta.zoo.options import InstaOptions, Options, fields_of, model_function

FILTERS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)


@dataclass(frozen=True, kw_only=True)
class ReActNetAOptions(Options):
    """Arguments of `ReActNetA`."""

    filters: Annotated[
        Sequence[int],
        "Width of the stem, then of each block; each equals its predecessor or is twice as "
        "large, and every doubling but the first block's halves the map.",
    ] = FILTERS


@dataclass(frozen=True, kw_only=True)
class InstaMobileNetV1Options(InstaOptions, ReActNetAOptions):
    """Arguments of `InstaMobileNetV1`."""


@factory
@fields_of(ReActNetAOptions)
class ReActNetAFactory(BinaryNetFactory):
    """MobileNetV1 with static thresholds."""

    model_name: str = Field("reactnet_a")

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


@model_function(ReActNetAOptions)
def ReActNetA(options: ReActNetAOptions) -> tf.keras.Model:
    """Instantiates ReActNet-A, the baseline of `InstaMobileNetV1` with static thresholds.

    # ImageNet Metrics

    | Top-1 Accuracy              | Parameters | Memory   |
    | --------------------------- | ---------- | -------- |
    | 69.4 % (the ReActNet paper) | 29 365 480 | 7.53 MiB |

    # References
        - [ReActNet: Towards Precise Binary Neural Network with Generalized Activation
            Functions](https://arxiv.org/abs/2003.03488)
    """
    return ReActNetAFactory(**vars(options)).build()


@model_function(InstaMobileNetV1Options)
def InstaMobileNetV1(options: InstaMobileNetV1Options) -> tf.keras.Model:
    """Instantiates INSTA-BNN on MobileNetV1.

    With all alphas at zero, where they start, it computes what `ReActNetA` computes.

    # ImageNet Metrics

    | Form | Top-1 Accuracy               | Parameters | Memory   |
    | ---- | ---------------------------- | ---------- | -------- |
    | base |                              | 29 409 448 | 7.70 MiB |
    | plus | 72.2 % (the INSTA-BNN paper) | 29 758 170 | 9.03 MiB |

    # References
        - [INSTA-BNN: Binary Neural Network with INSTAnce-aware
            Threshold](https://arxiv.org/abs/2204.07439)
    """
    return InstaMobileNetV1Factory(**vars(options)).build()
