"""Finds where a training stops being finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

NOWHERE = "nowhere: all weights, outputs, the loss and all gradients are finite on this batch"


def first_non_finite(
    model: tf.keras.Model, inputs: Any, loss: Callable[[tf.Tensor], tf.Tensor]
) -> str:
    """Names the first value of a training step, in the order of computation, that is not finite.

    That is: a weight; else an output of a layer, from the input on; else the loss; else a
    gradient, from the loss back. The model's weights, moving moments among them, stay as
    they are.

    # Arguments
        model: A functional model.
        inputs: One batch, as the model takes it.
        loss: Makes a scalar of the model's predictions.

    # Returns
        Words that fit into a sentence, such as "the output of layer stem_conv, whose inputs
        reach 1.2e+30"; `NOWHERE` if all is finite.
    """
    return next(_complaints(model, inputs, loss), NOWHERE)


def unanswered(model: tf.keras.Model, batches: Iterable[tuple[tf.Tensor, Any]]) -> str:
    """How many pictures get answers that are not finite, and why the first of them does."""
    count, pictures, where = 0, 0, NOWHERE
    for images, _ in batches:
        finite = tf.reduce_all(tf.math.is_finite(model(images, training=False)), axis=-1)
        broken = tf.boolean_mask(images, ~finite)
        if not count and len(broken):
            where = next(_complaints(model, broken[:1]), NOWHERE)
        count, pictures = count + len(broken), pictures + len(images)
    return f"{count:,} of {pictures:,}; the first value that is not finite is {where}"


def _complaints(
    model: tf.keras.Model, inputs: Any, loss: Callable[[tf.Tensor], tf.Tensor] | None = None
) -> Iterator[str]:
    """With a loss those of a training step, without one those of inference."""
    for layer in model.layers:
        for weight in layer.weights:
            if _broken(weight):
                yield f"the weight {_short_name(weight, layer)} of layer {layer.name}"
    nodes = _nodes(model)
    # Not `layer.output`: a nested model's is that of its own graph, a shared layer's no single one.
    probe = tf.keras.Model(model.input, [[node.outputs for node in nodes], model.output])
    inputs = tf.nest.map_structure(tf.convert_to_tensor, inputs)
    with _unchanged(model.non_trainable_variables), tf.GradientTape() as tape:
        tape.watch([x for x in tf.nest.flatten(inputs) if x.dtype.is_floating])
        outputs, predictions = probe(inputs, training=loss is not None)
        value = None if loss is None else loss(predictions)
    outputs = [tf.nest.flatten(tensors) for tensors in outputs]
    yield from _in_outputs(nodes, outputs)
    if value is None:
        return
    if _broken(value):
        yield "the loss"
    yield from _in_gradients(model, nodes, *tape.gradient(value, [outputs, _weights(nodes)]))


def _in_outputs(nodes: Sequence[Any], outputs: Sequence[Sequence[tf.Tensor]]) -> Iterator[str]:
    for node, tensors in zip(nodes, outputs, strict=True):
        for words in _broken_outputs(node, tensors):
            if node.is_input:
                yield f"the model's input {node.layer.name}"
            else:
                before = [x for parent in node.parent_nodes for x in outputs[nodes.index(parent)]]
                yield f"{words}, whose inputs reach {_largest(before):.1e}"


def _in_gradients(
    model: tf.keras.Model,
    nodes: Sequence[Any],
    of_outputs: Sequence[Sequence[tf.Tensor | None]],
    of_weights: Sequence[Sequence[tf.Tensor | None]],
) -> Iterator[str]:
    backwards = zip(reversed(nodes), reversed(of_outputs), reversed(of_weights), strict=True)
    for node, outputs, weights in backwards:
        for words in _broken_outputs(node, outputs):
            yield f"the gradient of {words}, passed back by {_users(node, nodes, model)}"
        for weight, gradient in zip(node.layer.trainable_weights, weights, strict=True):
            if _broken(gradient):
                name = _short_name(weight, node.layer)
                yield f"the gradient of the weight {name} of layer {node.layer.name}"


def _nodes(model: tf.keras.Model) -> list[Any]:
    """The calls of layers that a functional model consists of, in the order of computation."""
    depths = sorted(model._nodes_by_depth, reverse=True)
    return [node for depth in depths for node in model._nodes_by_depth[depth]]


def _weights(nodes: Sequence[Any]) -> list[list[tf.Variable]]:
    return [node.layer.trainable_weights for node in nodes]


def _users(node: Any, nodes: Sequence[Any], model: tf.keras.Model) -> str:
    layers = [f"layer {other.layer.name}" for other in nodes if node in other.parent_nodes]
    predicts = {id(x) for x in model.outputs} & {id(x) for x in tf.nest.flatten(node.outputs)}
    return " or ".join([*layers, *(["the loss"] if predicts else [])])


def _broken_outputs(node: Any, tensors: Sequence[tf.Tensor | None]) -> Iterator[str]:
    for number, tensor in enumerate(tensors, start=1):
        if _broken(tensor):
            which = "the output" if len(tensors) == 1 else f"output {number}"
            yield f"{which} of layer {node.layer.name}"


def _short_name(weight: tf.Variable, layer: tf.keras.layers.Layer) -> str:
    return weight.name.removeprefix(f"{layer.name}/").removesuffix(":0")


def _broken(value: Any) -> bool:
    """Whether something is not finite; no gradient at all and whole numbers are."""
    if value is None or not value.dtype.is_floating:
        return False
    return not bool(tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(value))))


def _largest(tensors: Sequence[tf.Tensor]) -> float:
    return max(float(tf.reduce_max(tf.abs(tf.cast(x, tf.float64)))) for x in tensors)


@contextmanager
def _unchanged(variables: Sequence[tf.Variable]) -> Iterator[None]:
    values = [variable.read_value() for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
