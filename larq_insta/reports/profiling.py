"""What a model costs: `profile`, for any Larq model, with the parts of INSTA-BNN."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import larq as lq
import tensorflow as tf

from larq_insta.layers import InstaPReLU, InstaThreshold
from larq_insta.layers.channelwise import InstanceAware
from larq_insta.layers.quantizers import InstaSign
from larq_insta_runtime.errors import InputError

BOPS_PER_OP = 64
"""Binary operations that published counts take for one of floats."""

MIB = 2**20
"""Bytes; what publications call MB."""

# Multiplications for each element of a map; additions alone do not count.
_PER_ELEMENT = {"mean": 0, "variance": 1, "skewness": 2, "cube_mean": 2}


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs for one picture.

    # Attributes
        name: The layer's name.
        output_shape: Of one picture, or of each output.
        binary_weights: Weights of 1 bit.
        float_weights: All other weights, as `lq.models.summary` counts them (of a batch
            normalisation with scale and shift, the two vectors that remain when fused).
        batch_norm_weights: Those of `float_weights` that belong to batch normalisations,
            which published sizes leave out.
        bops: Multiply-accumulates of binary inputs with binary weights.
        macs: All other multiply-accumulates of convolutions and dense layers.
        insta_operations: Multiplications, each with or without an addition, that
            instance-aware parts add to static ones: the cube (2 an element), the mean and
            the scale by alpha (1 a channel each), the dense layers of INSTA-Th+. The
            subtracted threshold counts none, as in published counts of static networks:
            it is an addition alone. Nor does RPReLU, which is not instance-aware, nor the
            normalisation of a statistic, which is folded into alpha and beta.
    """

    name: str
    output_shape: tuple[Any, ...]
    binary_weights: int
    float_weights: int
    batch_norm_weights: int
    bops: int
    macs: int
    insta_operations: int

    @property
    def flops(self) -> int:
        """Float operations, `macs + insta_operations`."""
        return self.macs + self.insta_operations

    @property
    def ops(self) -> float:
        """`flops + bops / 64`, as published."""
        return self.flops + self.bops / BOPS_PER_OP


@dataclass(frozen=True)
class Profile:
    """What a model costs for one picture.

    # Attributes
        name: The model's name.
        layers: The cost of each layer.
        total: The sum of all.
        size: Bytes as published: 1 bit a binary weight, 4 bytes any other, without
            batch normalisation.
        larq_size: Bytes as `lq.models.summary` counts them, with batch normalisation.
    """

    name: str
    layers: tuple[LayerCost, ...]
    total: LayerCost
    size: float
    larq_size: float

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "model": self.name,
            "layers": [_as_dict(layer) for layer in self.layers],
            "total": _as_dict(self.total),
            "size": self.size,
            "larq_size": self.larq_size,
        }

    def table(self) -> str:
        """A plain table of the layers that have weights or operations, and of their sum."""
        costly = [layer for layer in self.layers if any(_numbers(layer))]
        rows: list[tuple[str, ...]] = [("layer", "output", *_HEADINGS)]
        for layer in (*costly, self.total):
            shape = "x".join(map(str, layer.output_shape)) or "-"
            rows.append((layer.name, shape, *(f"{number:,}" for number in _numbers(layer))))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if i < 2 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])

    def describe(self) -> str:
        """The sums as they are published, in a few lines."""
        total = self.total
        return (
            f"FLOPs {total.flops:.4g} ({total.insta_operations:.3g} of them INSTA), BOPs "
            f"{total.bops:.4g}, OPs = FLOPs + BOPs / {BOPS_PER_OP} = {total.ops:.4g}\n"
            f"Size {self.size / MIB:.2f} MiB as published (1 bit or 4 bytes a weight, without "
            f"batch normalisation), {self.larq_size / MIB:.2f} MiB in lq.models.summary"
        )


def profile(model: tf.keras.Model) -> Profile:
    """Counts weights and operations of a functional or sequential model, layer by layer.

    Weights and multiply-accumulates are those of `lq.models.summary`, except where that
    takes weights of an instance-aware `input_quantizer` for the convolution's.

    # Raises
        InputError: if the model is neither, or its input size is not known.
    """
    if not getattr(model, "inputs", None):
        raise InputError(
            "A model to profile must be functional or sequential with a known input; got "
            f"{type(model).__name__} {getattr(model, 'name', model)!r}: make it with "
            "tf.keras.Model(inputs, outputs)."
        )
    for tensor in model.inputs:
        if None in tensor.shape[1:]:
            raise InputError(
                f"A model to profile must have a fixed input size; got {tuple(tensor.shape[1:])}: "
                "build it with input_shape=(height, width, channels)."
            )
    profiles = list(_flat(lq.models.ModelProfile(model)))
    layers = tuple(_cost(layer) for layer in profiles)
    outside = [p for layer in profiles for p in _outside_batch_norm(layer)]
    return Profile(
        model.name,
        layers,
        _sum(layers),
        sum(weight.memory for weight in outside) / 8,
        sum(layer.memory for layer in profiles) / 8,
    )


_NUMBERS = ("binary_weights", "float_weights", "bops", "macs", "insta_operations")
_HEADINGS = ("binary weights", "float weights", "BOPs", "float MACs", "INSTA")


def _numbers(layer: LayerCost) -> tuple[int, ...]:
    return tuple(getattr(layer, name) for name in _NUMBERS)


def _as_dict(layer: LayerCost) -> dict[str, Any]:
    return {**asdict(layer), "flops": layer.flops, "ops": layer.ops}


def _flat(profile: lq.models.ModelProfile) -> Iterator[lq.models.LayerProfile]:
    for layer in profile.layer_profiles:
        if isinstance(layer, lq.models.ModelProfile):
            yield from _flat(layer)
        else:
            yield layer


def _cost(profile: lq.models.LayerProfile) -> LayerCost:
    layer = profile._layer
    binary = profile.weight_count(1)
    kept = sum(weight.count for weight in _outside_batch_norm(profile))
    bops, macs = _multiply_accumulates(profile)
    return LayerCost(
        name=layer.name,
        output_shape=_of_one(layer.output_shape),
        binary_weights=binary,
        float_weights=profile.weight_count() - binary,
        batch_norm_weights=profile.weight_count() - kept,
        bops=bops,
        macs=macs,
        insta_operations=_insta_operations(layer),
    )


def _sum(layers: tuple[LayerCost, ...]) -> LayerCost:
    names = (*_NUMBERS, "batch_norm_weights")
    sums = {name: sum(getattr(layer, name) for layer in layers) for name in names}
    return LayerCost("total", (), **sums)


def _of_one(shape: Any) -> tuple[Any, ...]:
    """Without the batch's axis; of an only or the first of many outputs."""
    return _of_one(shape[0]) if isinstance(shape, list) else tuple(shape[1:])


def _outside_batch_norm(profile: lq.models.LayerProfile) -> list[lq.models.WeightProfile]:
    inside = [
        weight
        for layer in profile._layer._flatten_layers()
        if isinstance(layer, tf.keras.layers.BatchNormalization)
        for weight in layer.weights
    ]
    return [p for p in profile.weight_profiles if not any(p._weight is w for w in inside)]


def _multiply_accumulates(profile: lq.models.LayerProfile) -> tuple[int, int]:
    """Binary and other ones, but those that Larq counts for weights of quantizers."""
    quantizer = _insta_quantizer(profile._layer)
    phantoms = quantizer.weights if quantizer else []
    weights = [weight for weight in profile.weight_profiles if not weight.is_bias()]
    binary = other = 0
    for weight, operation in zip(weights, profile.op_profiles, strict=bool(profile.op_profiles)):
        if any(weight._weight is phantom for phantom in phantoms):
            continue
        if operation.precision == 1:
            binary += operation.n
        else:
            other += operation.n
    return binary, other


def _insta_quantizer(layer: tf.keras.layers.Layer) -> InstaSign | None:
    quantizer = getattr(layer, "input_quantizer", None)
    return quantizer if isinstance(quantizer, InstaSign) else None


def _insta_operations(layer: tf.keras.layers.Layer) -> int:
    quantizer = layer if isinstance(layer, InstaSign) else _insta_quantizer(layer)
    part = quantizer.threshold if quantizer else layer
    if not isinstance(part, InstanceAware):
        return 0
    shape = layer.input_shape[0] if isinstance(layer.input_shape, list) else layer.input_shape
    elements = tf.TensorShape(shape[1:]).num_elements()
    return _of_statistic(part, elements, shape[-1]) + _of_threshold(part, shape[-1])


def _of_statistic(part: InstanceAware, elements: int, channels: int) -> int:
    needed = not isinstance(part, InstaPReLU) or part.instance_aware
    if part.statistic is None or not needed:
        return 0
    # In front of statistic and sign a normalisation cannot be folded: its scale is 1 more.
    each = _PER_ELEMENT[part.statistic] + (part.normalization == "batch")
    return each * elements + channels


def _of_threshold(part: InstanceAware, channels: int) -> int:
    if isinstance(part, InstaPReLU):
        return channels * len(part.instance_aware)
    if not isinstance(part, InstaThreshold):
        return 0
    branch = 2 * channels * part.branch_reduce.units if part.reduction_ratio else 0
    return channels * part.has_alpha + branch
