"""Walks through a functional model call by call, those of models inside it written out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

_SEQUENTIAL = tf.keras.Sequential
_FUNCTIONAL = _SEQUENTIAL.__base__


def walk(
    model: tf.keras.Model,
    inputs: Sequence[Any],
    call: Callable[..., Any],
    opens: Callable[[Any], bool] = lambda _: True,
) -> list[Any]:
    """The model's outputs for `inputs`, with `call(node, *args, **kwargs)` for each layer's.

    The node is Keras's, of the innermost model; its layer is the one to call. Inputs and what
    `call` gives may be anything, not tensors alone. A model inside counts as a layer where
    `opens(node)` says no.
    """
    uses = model._tensor_usage_count
    pairs = zip(model.inputs, inputs, strict=True)
    tensors = {str(id(x)): [y] * uses[str(id(x))] for x, y in pairs}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            args, kwargs = node.map_arguments(tensors)
            inner = node.layer
            if opens(node) and _is_written_out(inner, node):
                made = walk(inner, inner._flatten_to_reference_inputs(args[0]), call, opens)
            else:
                made = tf.nest.flatten(call(node, *args, **kwargs))
            for name, y in zip(node.flat_output_ids, made, strict=True):
                tensors[name] = [y] * uses[name]
    return [tensors[str(id(x))].pop() for x in model.outputs]


@dataclass(frozen=True, eq=False)
class Call:
    """A call of a layer, by Keras's node, and those that made what it is given, but inputs."""

    node: Any
    sources: tuple[Call, ...]

    @property
    def layer(self) -> tf.keras.layers.Layer:
        return self.node.layer

    @property
    def given(self) -> Any:
        """The first of its tensors, in the innermost model."""
        return self.node.keras_inputs[0]


def calls(model: tf.keras.Model) -> list[Call]:
    """Every call; of one layer on the same tensors they are one, as for the converter."""
    made: dict[Any, list[_Output]] = {}

    def call(node: Any, *args: Any, **kwargs: Any) -> list[_Output]:
        given = tf.nest.flatten((args, kwargs))
        key = node.layer, tuple(map(id, given))
        if key not in made:
            sources = (x.call for x in given if isinstance(x, _Output) and x.call is not None)
            this = Call(node, tuple(sources))
            made[key] = [_Output(this) for _ in node.flat_output_ids]
        return made[key]

    walk(model, [_Output(None) for _ in model.inputs], call)
    return [outputs[0].call for outputs in made.values() if outputs[0].call is not None]


@dataclass(frozen=True, eq=False)
class _Output:
    """In place of a tensor."""

    call: Call | None


def is_functional(layer: tf.keras.layers.Layer) -> bool:
    """Whether it is a model whose call is that of its layers and nothing else."""
    known = isinstance(layer, _FUNCTIONAL) and layer._is_graph_network
    return known and type(layer).call in (_FUNCTIONAL.call, _SEQUENTIAL.call)


def written_out_layers(model: tf.keras.Model, place: str = "") -> Iterator[tuple[str, Any]]:
    """A model's layers by name, those of models inside it by `MODEL/NAME`."""
    for layer in model.layers:
        if is_functional(layer):
            yield from written_out_layers(layer, f"{place}{layer.name}/")
        else:
            yield f"{place}{layer.name}", layer


def _is_written_out(layer: tf.keras.layers.Layer, node: Any) -> bool:
    """Whether a call is that of a model's layers, with inputs as they are, in inference."""
    if not is_functional(layer):
        return False
    given, wanted = (
        [(tensor.dtype, tensor.shape.rank) for tensor in tensors]
        for tensors in (node.keras_inputs, layer.inputs)
    )
    return given == wanted and not any((*node.call_args[1:], *node.call_kwargs.values()))
