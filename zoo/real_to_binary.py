"""Larq Zoo's Real-to-Binary network, made instance-aware: InstaRealToBinary."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
from larq_zoo.literature.real_to_bin_nets import RealToBinNetBNNFactory
from zookeeper import Field, factory

from larq_insta.rewriting.rebuilding import Layer
from larq_insta.zoo.adopted import AdoptedFactory, AdoptedOptions
from larq_insta.zoo.options import model_function

_PREFIX = "r2b_bnn_"


@dataclass(frozen=True, kw_only=True)
class InstaRealToBinaryOptions(AdoptedOptions):
    """Arguments of `InstaRealToBinary`."""


@factory
class InstaRealToBinaryFactory(AdoptedFactory):
    """The Real-to-Binary network with instance-aware thresholds and PReLUs."""

    model_name: str = Field("insta_real_to_binary")

    def static(self, **arguments: Any) -> tf.keras.Model:
        return RealToBinNetBNNFactory(**arguments).build()

    def names(self, layers: Sequence[Layer]) -> Iterator[str]:
        """Larq Zoo's without the network's name, such as `block_2a_conv2d`."""
        return (layer.name.removeprefix(_PREFIX) for layer in layers)


@model_function(InstaRealToBinaryOptions)
def InstaRealToBinary(options: InstaRealToBinaryOptions) -> tf.keras.Model:
    """Instantiates Larq Zoo's Real-to-Binary network with instance-aware thresholds and PReLUs.

    With all alphas at zero, where they start, it computes what
    `larq_zoo.literature.RealToBinaryNet` computes, whose ImageNet weights (65.0 % top-1, as
    Larq Zoo publishes) it may start from. An instance-aware one has not been trained on
    ImageNet.

    # ImageNet Metrics

    | Top-1 Accuracy | Parameters | Memory   |
    | -------------- | ---------- | -------- |
    | not trained    | 12 019 816 | 5.22 MiB |

    # References
        - [Training binary neural networks with real-to-binary
            convolutions](https://openreview.net/forum?id=BJg4NgBKvH)
        - [INSTA-BNN: Binary Neural Network with INSTAnce-aware
            Threshold](https://arxiv.org/abs/2204.07439)
    """
    return InstaRealToBinaryFactory(**vars(options)).build()
