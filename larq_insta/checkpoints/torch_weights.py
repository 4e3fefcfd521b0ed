"""Gives a Keras model's weights the tensors of a PyTorch state dict: all, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from larq_insta_runtime.errors import InputError

_VARIANCE = ".running_var"
_COUNTER = ".num_batches_tracked"
"""What PyTorch's batch normalisations have and Keras's do not need."""


@dataclass(frozen=True)
class Target:
    """A weight, and how its tensor becomes an array of its shape."""

    weight: tf.Variable
    transform: Callable[[np.ndarray], np.ndarray] = np.asarray


def assign(
    name: str, targets: Mapping[str, Target], tensors: Mapping[str, np.ndarray], remedy: str
) -> None:
    """Assigns each tensor to the target of its name.

    # Arguments
        name: The model's, for messages.
        targets: All weights that are to be set, by PyTorch's names.
        tensors: In PyTorch's axes. Counters of batches are not used where the model has the
            batch normalisation.
        remedy: What the user shall do if the two do not fit.

    # Raises
        InputError: if a tensor is missing, left over, of another shape, or has values that
            no network computes with; lists all such. Then no weight has changed.
    """
    counters = {key.replace(_VARIANCE, _COUNTER) for key in targets if key.endswith(_VARIANCE)}
    given = {key: tensor for key, tensor in tensors.items() if key not in counters}
    known = {key: _transformed(given[key], targets[key]) for key in sorted(targets.keys() & given)}
    arrays = {key: array for key, array in known.items() if array is not None}
    other = [f"{key} {list(given[key].shape)}" for key in known if key not in arrays]
    complaints = {
        "missing": sorted(targets.keys() - given),
        "left over": sorted(given.keys() - targets),
        "of another shape": other,
        "not finite, or a negative variance": [k for k, x in arrays.items() if _is_bad(k, x)],
    }
    if any(complaints.values()):
        lists = "; ".join(f"{kind}: {', '.join(x) or 'none'}" for kind, x in complaints.items())
        raise InputError(f"The file must have exactly the weights of {name}; {lists}: {remedy}")
    for key, array in arrays.items():
        targets[key].weight.assign(array)


def kernel(tensor: np.ndarray) -> np.ndarray:
    """Of a convolution: `(filters, channels, height, width)` to Keras's axes."""
    return tensor.transpose(2, 3, 1, 0)


def depthwise_kernel(tensor: np.ndarray) -> np.ndarray:
    """Of a depthwise convolution: `(channels, 1, height, width)` to Keras's axes."""
    return tensor.transpose(2, 3, 0, 1)


def batch_norm_targets(layer: tf.keras.layers.BatchNormalization, prefix: str) -> dict[str, Target]:
    """Of `torch.nn.BatchNorm2d`."""
    return {
        f"{prefix}.weight": Target(layer.gamma),
        f"{prefix}.bias": Target(layer.beta),
        f"{prefix}.running_mean": Target(layer.moving_mean),
        f"{prefix}.running_var": Target(layer.moving_variance),
    }


def dense_targets(layer: tf.keras.layers.Dense, prefix: str) -> dict[str, Target]:
    """Of `torch.nn.Linear`."""
    return {
        f"{prefix}.weight": Target(layer.kernel, np.transpose),
        f"{prefix}.bias": Target(layer.bias),
    }


def _transformed(tensor: np.ndarray, target: Target) -> np.ndarray | None:
    """`None` if it does not fit."""
    try:
        array = target.transform(tensor)
    except ValueError:
        return None
    return array if array.shape == tuple(target.weight.shape) else None


def _is_bad(key: str, array: np.ndarray) -> bool:
    negative = key.endswith(_VARIANCE) and array.min() < 0
    return negative or not np.isfinite(array).all()
