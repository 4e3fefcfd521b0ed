"""Larq Zoo's QuickNet, made instance-aware: InstaQuickNet."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tensorflow as tf
from larq_zoo.sota.quicknet import (
    QuickNetFactory,
    QuickNetLargeFactory,
    QuickNetSmallFactory,
)
from zookeeper import Field, factory

from larq_insta.rewriting.rebuilding import Layer
from larq_insta.zoo.adopted import AdoptedFactory, AdoptedOptions
from larq_insta.zoo.arguments import check_filters
from larq_insta.zoo.options import fields_of, model_function
from larq_insta.zoo.signs import takes_sign

FILTERS = (64, 128, 256, 512)
BLOCKS = (4, 4, 4, 4)


@dataclass(frozen=True, kw_only=True)
class InstaQuickNetOptions(AdoptedOptions):
    """Arguments of `InstaQuickNet`."""

    filters: Annotated[
        Sequence[int],
        "Width of each section, the first a multiple of 4; each but the first halves the map. "
        "ImageNet weights are of the default's.",
    ] = FILTERS
    section_blocks: Annotated[
        Sequence[int],
        "How many blocks each section has; (6, 8, 12, 6) are QuickNetLarge's, whose ImageNet "
        "weights then are taken.",
    ] = BLOCKS


_KINDS = {
    "Activation": "relu",
    "AveragePooling2D": "pool",
    "BatchNormalization": "batch_norm",
    "DepthwiseConv2D": "depthwise",
    "MaxPooling2D": "pool",
    "QuantConv2D": "conv",
    "QuantDepthwiseConv2D": "depthwise",
    "TFOpLambda": "add",
}
_BEHIND_CONVOLUTION = 2
"""Layers of a block: batch normalisation, and the addition of its shortcut."""

_PUBLISHED = {
    (FILTERS, BLOCKS): QuickNetFactory,
    (FILTERS, (6, 8, 12, 6)): QuickNetLargeFactory,
    ((32, 64, 256, 512), BLOCKS): QuickNetSmallFactory,
}


@factory
@fields_of(InstaQuickNetOptions)
class InstaQuickNetFactory(AdoptedFactory):
    """QuickNet with instance-aware thresholds."""

    model_name: str = Field("insta_quicknet")

    def static(self, **arguments: Any) -> tf.keras.Model:
        form = tuple(self.filters), tuple(self.section_blocks)
        if form not in _PUBLISHED and arguments.get("weights") is not None:
            raise ValueError(f"there are none of widths {form[0]} and blocks {form[1]}")
        sections = {"section_filters": form[0], "section_blocks": form[1]}
        return _PUBLISHED.get(form, QuickNetFactory)(**sections, **arguments).build()

    def names(self, layers: Sequence[Layer]) -> Iterator[str]:
        """Such as `stem_conv`, `section2_block3_conv`, `section3_transition_pool`, `head_pool`."""
        used: Counter[str] = Counter()
        prefix, section, block, filters, left = "stem", 0, 0, 0, len(layers)
        for place, layer in enumerate(layers):
            if takes_sign(layer):
                block += 1
                if layer.filters != filters:
                    section, block, filters = section + 1, 1, layer.filters
                prefix, left = f"section{section}_block{block}", _BEHIND_CONVOLUTION
            elif left == 0:
                is_last = not any(map(takes_sign, layers[place:]))
                prefix = "head" if is_last else f"section{section + 1}_transition"
            else:
                left -= 1
            plain = layer.name.rstrip("_0123456789")  # Keras numbers them through
            name = f"{prefix}_{_KINDS.get(type(layer).__name__, plain)}"
            used[name] += 1
            yield name if used[name] == 1 else f"{name}_{used[name]}"

    def _check(self) -> None:
        super()._check()
        check_filters(self.filters)
        blocks = self.section_blocks
        if len(blocks) != len(self.filters) or min(blocks) < 1 or self.filters[0] % 4:
            raise ValueError(
                "`section_blocks` must be as many positive numbers as `filters`, of which the "
                f"first is a multiple of 4; got {blocks} and {self.filters}."
            )


@model_function(InstaQuickNetOptions)
def InstaQuickNet(options: InstaQuickNetOptions) -> tf.keras.Model:
    """Instantiates Larq Zoo's QuickNet with instance-aware thresholds.

    With all alphas at zero, where they start, it computes what `larq_zoo.sota.QuickNet`
    computes, whose ImageNet weights (63.3 % top-1, as Larq Zoo publishes) it may start from.
    An instance-aware one has not been trained on ImageNet.

    # ImageNet Metrics

    | Top-1 Accuracy | Parameters | Memory   |
    | -------------- | ---------- | -------- |
    | not trained    | 13 258 056 | 4.22 MiB |

    # References
        - [Larq Compute Engine: Design, Benchmark, and Deploy State-of-the-Art Binarized
            Neural Networks](https://arxiv.org/abs/2011.09398)
        - [INSTA-BNN: Binary Neural Network with INSTAnce-aware
            Threshold](https://arxiv.org/abs/2204.07439)
    """
    return InstaQuickNetFactory(**vars(options)).build()
