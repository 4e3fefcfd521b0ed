"""Where a model takes signs of maps, and which PReLUs belong to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

import larq as lq
import numpy as np
import tensorflow as tf

from larq_insta.layers import InstaPReLU, InstaSign, InstaThreshold, RPReLU, StaticThreshold
from larq_insta.rewriting.flattening import is_functional
from larq_insta.rewriting.forms import KERNEL_QUANTIZERS, is_binary

Layer: TypeAlias = tf.keras.layers.Layer

PRELUS = (RPReLU, tf.keras.layers.PReLU)

_KNOWN = ("larq.", "larq_insta.", "keras.", "tf_keras.")
_QUANTIZERS = ("input_quantizer", *KERNEL_QUANTIZERS)
_LEAST_RANK = 3
"""Of maps; a vector has no statistic over positions."""


@dataclass(eq=False)
class Sign:
    """Layers that take the signs of the same maps, and so may share a threshold.

    # Attributes
        layers: Larq layers with an input quantizer of 1 bit, and quantizers.
        maps: What they read, Keras's tensors.
        static: Their `StaticThreshold`, if there is one that serves them all.
        inside: Whether that is in a quantizer, not in front.
    """

    layers: list[Layer]
    maps: list[Any]
    static: StaticThreshold | None = None
    inside: bool = False

    @property
    def named(self) -> list[Layer]:
        """Layers by which it can be selected."""
        return [*self.layers, *([self.static] if self.static and not self.inside else [])]

    @property
    def positions(self) -> int | None:
        return max((_positions(x) or 0 for x in self.maps), default=0) or None


@dataclass(eq=False)
class Activation:
    """A PReLU, and the sign behind which it stands, if there is just one."""

    layer: Layer
    map: Any
    sign: Sign | None

    @property
    def named(self) -> list[Layer]:
        return [self.layer]

    @property
    def positions(self) -> int | None:
        return _positions(self.map)


def find(
    model: tf.keras.Model, extra_quantizers: Sequence[Any] = ()
) -> tuple[list[Sign], list[Activation]]:
    """Signs of maps that have no instance-aware threshold, and PReLUs, of all models in it.

    # Raises
        ValueError: if it is not known what a quantizer does.
    """
    nodes = [node for part in dict.fromkeys(_models(model)) for node in _nodes(part)]
    signs = _signs(nodes, extra_quantizers)
    return signs, _activations(nodes, signs)


def quantizer_of(layer: Layer) -> Any:
    """What a layer makes of its input before all else, or is."""
    # A layer of one's own that gives one bit can only be a quantizer.
    if isinstance(layer, lq.quantizers.Quantizer) or is_binary(layer):
        return layer
    return getattr(layer, "input_quantizer", None)


def takes_sign(layer: Layer, extra_quantizers: Sequence[Any] = ()) -> bool:
    """Whether a layer begins with a sign that has no instance-aware threshold.

    # Raises
        ValueError: if it is not known what its quantizer does.
    """
    allowed = {x if isinstance(x, str) else _name(x) for x in extra_quantizers}
    quantizer = quantizer_of(layer)
    if allowed & {_name(layer), _name(quantizer)}:
        return True
    if quantizer is None or isinstance(quantizer, lq.quantizers.NoOp):
        return False
    if isinstance(quantizer, InstaSign):
        return type(quantizer.threshold) is StaticThreshold
    name = _name(quantizer)
    precision = getattr(quantizer, "precision", None)
    if isinstance(quantizer, tf.keras.layers.Layer) and (
        precision not in (None, 1) or type(quantizer).__module__.startswith(_KNOWN)
    ):
        return precision == 1
    raise ValueError(
        f"Quantizers must be Larq's or ours; that of layer {layer.name} is {name}: if it is a "
        f"sign, give extra_quantizers=[{name}]."
    )


def _signs(nodes: Sequence[Any], extra_quantizers: Sequence[Any]) -> list[Sign]:
    groups: list[tuple[set[Any], Sign]] = []
    for node in nodes:
        if is_functional(node.layer):
            continue
        _check_parts(node.layer)
        x = node.keras_inputs[0]
        of_map = takes_sign(node.layer, extra_quantizers) and x.shape.rank >= _LEAST_RANK
        if not of_map or _needs_none(x):
            continue
        inside = getattr(quantizer_of(node.layer), "threshold", None)
        keys = {id(node.layer), (id(x), node.layer.dtype_policy.name, id(inside))}
        if type(maker := x._keras_history.layer) is StaticThreshold:
            keys.add(id(maker))
        joined = Sign([node.layer], [x], inside, inside is not None)
        for others, sign in [group for group in groups if group[0] & keys]:
            groups.remove((others, sign))
            keys |= others
            joined = _joined(sign, joined)
        groups.append((keys, joined))
    for _, sign in groups:
        sign.static = sign.static or _static_in_front(sign)
    return [sign for _, sign in groups]


def _joined(a: Sign, b: Sign) -> Sign:
    layers = list(dict.fromkeys([*a.layers, *b.layers]))
    maps = list({id(x): x for x in [*a.maps, *b.maps]}.values())
    return Sign(layers, maps, a.static, a.inside)


def _static_in_front(sign: Sign) -> StaticThreshold | None:
    makers = {x._keras_history.layer for x in sign.maps}
    (maker,) = makers if len(makers) == 1 else (None,)
    return maker if type(maker) is StaticThreshold else None


def _needs_none(x: Any) -> bool:
    """Whether a map has an instance-aware threshold, or is of signs already."""
    maker = x._keras_history.layer
    is_quantizer = quantizer_of(maker) is maker and not isinstance(maker, lq.quantizers.NoOp)
    return isinstance(maker, InstaThreshold) or (is_quantizer and is_binary(maker))


def _check_parts(layer: Layer) -> None:
    """Whether no sign is where a threshold cannot be put in front."""
    for part in layer._flatten_layers(include_self=False):
        if any(is_binary(getattr(part, name, None)) for name in _QUANTIZERS):
            raise ValueError(
                f"Binary layers must be layers of the model; {part.name} is inside of {layer.name} "
                f"({type(layer).__name__}): write it with tf.keras.Model(inputs, outputs)."
            )
    behind = getattr(layer, "activation", None)
    if is_binary(behind):
        raise ValueError(
            f"A sign must begin a layer; that of {layer.name} is its activation "
            f"({_name(behind)}): put the quantizer behind it, as a layer."
        )


def _activations(nodes: Sequence[Any], signs: Sequence[Sign]) -> list[Activation]:
    made_by = {id(x): node for node in nodes for x in tf.nest.flatten(node.outputs)}
    by_layer = {layer: sign for sign in signs for layer in sign.layers}
    calls = [
        node
        for node in nodes
        if type(node.layer) in PRELUS and node.keras_inputs[0].shape.rank >= _LEAST_RANK
    ]
    found = []
    for layer in dict.fromkeys(node.layer for node in calls):
        own = [node for node in calls if node.layer is layer]
        x = own[0].keras_inputs[0]
        behind = _signs_behind(x, made_by, by_layer) if len(own) == 1 else set()
        found.append(Activation(layer, x, behind.pop() if len(behind) == 1 else None))
    return found


def _signs_behind(x: Any, made_by: dict[int, Any], by_layer: dict[Layer, Sign]) -> set[Sign]:
    """Signs from which a tensor comes with neither a PReLU nor another sign in between."""
    waiting, seen, found = [x], set(), set()
    while waiting:
        node = made_by.get(id(waiting.pop()))
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.layer in by_layer:
            found.add(by_layer[node.layer])
        elif not isinstance(node.layer, (*PRELUS, InstaPReLU)) and not is_functional(node.layer):
            waiting += node.keras_inputs
    return found


def _models(model: tf.keras.Model) -> Iterator[tf.keras.Model]:
    yield model
    for layer in model.layers:
        if is_functional(layer):
            yield from _models(layer)


def _nodes(model: tf.keras.Model) -> list[Any]:
    """Calls of layers in a model, in the order in which they run."""
    depths = sorted(model._nodes_by_depth, reverse=True)
    nodes = chain.from_iterable(model._nodes_by_depth[depth] for depth in depths)
    return [node for node in nodes if not node.is_input]


def _positions(x: Any) -> int | None:
    sizes = x.shape[1:-1]
    return int(np.prod(sizes)) if sizes.is_fully_defined() else None


def _name(quantizer: Any) -> str:
    return getattr(quantizer, "__name__", type(quantizer).__name__)
