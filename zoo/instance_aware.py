"""What makes a binary residual network instance-aware."""

from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf

from larq_insta.layers import InstaPReLU, InstaThreshold
from larq_insta.zoo.factory import BinaryNetFactory
from larq_insta.zoo.options import AwareOptions, fields_of

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

LOOSE_BOUND = STATISTIC_BOUND**3
"""Of statistics that are not normalised themselves: the cube of a map of 8 all over. It is far
from what pictures like those of the training have, and ends the growth all the same."""


@fields_of(AwareOptions)
class WithInstaLayers(BinaryNetFactory):
    """Makes a `BinaryNetFactory` instance-aware: INSTA-Th (or INSTA-Th+) and INSTA-PReLU."""

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
        options = self._with_steady_statistic({**options, **(self.threshold or {})})
        shifted = configured(InstaThreshold, options, f"{name}_threshold")(x)
        return tuple(shifted) if isinstance(shifted, list) else (shifted, None)

    def activation(self, x: tf.Tensor, name: str, statistic: tf.Tensor | None) -> tf.Tensor:
        if name not in self._selected():
            return super().activation(x, name, statistic)
        if statistic is None or statistic.shape[-1] != x.shape[-1]:
            options = self._with_steady_statistic(self._prelu)
            return configured(InstaPReLU, options, f"{name}_prelu")(x)
        options = {"statistic": None, **self._prelu}
        return configured(InstaPReLU, options, f"{name}_prelu")(x, statistic=statistic)

    @property
    def _prelu(self) -> Mapping[str, Any]:
        return self.prelu or {}

    def _with_steady_statistic(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return with_steady_statistic(options, self._prelu.get("instance_aware"))


def with_steady_statistic(options: Mapping[str, Any], parameters: Any) -> dict[str, Any]:
    """Arguments of a layer with a statistic, beside PReLUs with these instance-aware parameters."""
    options = {"normalization": NORMALIZATION, **options}
    # Shifts add to activations, but slopes multiply them, block after block.
    multiplies = isinstance(parameters, Iterable) and "slope" in parameters  # the layer checks it
    tight = multiplies or options["normalization"] == NORMALIZATION
    return {"statistic_bound": STATISTIC_BOUND if tight else LOOSE_BOUND, **options}


def _of_prefix(blocks: Iterable[str], prefix: str) -> set[str]:
    selected = {name for name in blocks if name == prefix or name.startswith(f"{prefix}_")}
    if not selected:
        raise ValueError(
            "`insta_blocks` must be 'all', 'all_but_largest_maps' or some of "
            f"{', '.join(blocks)} or their beginnings; got {prefix!r}."
        )
    return selected


def configured(
    kind: type[tf.keras.layers.Layer], options: Mapping[str, Any], name: str
) -> tf.keras.layers.Layer:
    """A layer of these arguments.

    # Raises
        ValueError: if they are not those of its kind.
    """
    try:
        return kind(**options, name=name)
    except TypeError as error:
        raise ValueError(
            f"Settings must be arguments of {kind.__name__}; got {dict(options)}: {error}."
        ) from error
