"""Filters of float layers in int8, and over pairs of columns."""

from __future__ import annotations

import numpy as np

from larq_insta_runtime.engine import schema


def quantized(weights: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Filters in int8 and the step of each index of an axis.

    127 steps to the largest absolute weight, and one, which is exact, if all have one magnitude.
    """
    largest = np.abs(weights).max(_others(weights, axis), keepdims=True)
    steps = np.where(has_one_magnitude(weights, axis), largest, largest / 127)
    # A step of zero, of a channel of zeros, could not be divided by.
    steps = np.maximum(steps, np.finfo(np.float32).tiny)
    return np.rint(weights / steps).astype(np.int8), steps.reshape(-1)


def has_one_magnitude(weights: np.ndarray, axis: int) -> np.ndarray:
    """Of which output channels all weights but zeros have it; other axes have length 1."""
    sizes, others = np.abs(weights), _others(weights, axis)
    return ((sizes == sizes.max(others, keepdims=True)) | (sizes == 0)).all(others, keepdims=True)


def _others(weights: np.ndarray, axis: int) -> tuple[int, ...]:
    return tuple(i for i in range(weights.ndim) if i != axis)


def paired(weights: np.ndarray, width: int, padding: int) -> np.ndarray | None:
    """The filters over pairs of columns, or `None` where padding would not fall between pairs.

    # Arguments
        weights: Filters `(out, height, width, channels)` that move by two columns.
        width: Columns of the map, an even number.
        padding: TFLite's.
    """
    filters, height, taps, channels = weights.shape
    in_front = 0
    if padding == schema.Padding.SAME:
        in_front = max((width // 2 - 1) * 2 + taps - width, 0) // 2
    before = in_front % 2  # a column of zeros, so that pairs begin where the map's do
    pairs = -(-(before + taps) // 2)
    columns = np.zeros((filters, height, 2 * pairs, channels), np.float32)
    columns[:, :, before : before + taps] = weights
    if padding == schema.Padding.SAME and (pairs - 1) // 2 != (in_front + before) // 2:
        return None
    if padding != schema.Padding.SAME and (width - taps) // 2 != width // 2 - pairs:
        return None
    return columns.reshape(filters, height, pairs, 2 * channels)
