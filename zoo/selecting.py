"""Which of a model's signs and PReLUs shall be instance-aware."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from larq_insta.zoo.signs import Activation, Layer, Sign
from larq_insta_runtime.naming import listed

Blocks: TypeAlias = str | Iterable[str] | Callable[[Layer], bool]


def select(
    blocks: Blocks, signs: Sequence[Sign], activations: Sequence[Activation]
) -> tuple[list[Sign], list[Activation]]:
    """Those of them that shall be instance-aware.

    # Raises
        ValueError: if there is none, or it cannot be told.
    """
    if blocks == "all":
        return list(signs), list(activations)
    if blocks == "all_but_largest_maps":
        chosen = _on_smaller_maps(signs)
        largest = max(sign.positions or 0 for sign in signs)
        behind = [
            x for x in activations if (x.sign in chosen if x.sign else (x.positions or 0) < largest)
        ]
        return chosen, behind
    candidates: list[Sign | Activation] = [*signs, *activations]
    wanted = _predicate(blocks, [layer for x in candidates for layer in x.named])
    chosen = [sign for sign in signs if any(map(wanted, sign.named))]
    behind = [x for x in activations if wanted(x.layer)]
    if not chosen:
        raise ValueError(
            f"`blocks` must select layers that take signs, of {_names(signs)}; got {blocks!r}, "
            "which selects none of them."
        )
    return chosen, behind


def _on_smaller_maps(signs: Sequence[Sign]) -> list[Sign]:
    unknown = [sign for sign in signs if sign.positions is None]
    if unknown:
        raise ValueError(
            "To leave out the largest maps their sizes must be known; "
            f"{unknown[0].layers[0].name} reads a map of unknown size: give the model's input a "
            "size, or blocks='all' (--insta-blocks all)."
        )
    largest = max(sign.positions or 0 for sign in signs)
    smaller = [sign for sign in signs if (sign.positions or 0) < largest]
    if not smaller:
        raise ValueError(
            f"`blocks` must leave some of {_names(signs)}; got 'all_but_largest_maps', and all "
            "their maps are of one size: give blocks='all' (--insta-blocks all)."
        )
    return smaller


def _predicate(blocks: Blocks, layers: Sequence[Layer]) -> Callable[[Layer], bool]:
    if callable(blocks):
        return blocks
    names = [layer.name for layer in layers]
    chosen: set[str] = set()
    for name in one_or_several(blocks):
        matching = {name} & set(names) or {x for x in names if x.startswith(f"{name}_")}
        if not matching:
            raise ValueError(
                "`blocks` must be 'all', 'all_but_largest_maps', a predicate of layers, or some of "
                f"{listed(names)} or their beginnings; got {name!r}."
            )
        chosen |= matching
    return lambda layer: layer.name in chosen


def one_or_several(value: Any) -> list[Any]:
    """What is given alone or in a collection."""
    return [*value] if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _names(signs: Sequence[Sign]) -> str:
    return listed([layer.name for sign in signs for layer in sign.layers])
