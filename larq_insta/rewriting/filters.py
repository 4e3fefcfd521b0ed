"""Filters of float layers, for int8."""

from __future__ import annotations

import numpy as np

from larq_insta_runtime.engine import schema


def quantized(weights: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Filters in int8 and the step of each, 127 of them to its largest absolute weight."""
    others = tuple(i for i in range(weights.ndim) if i != axis)
    largest = np.abs(weights).max(others, keepdims=True)
    steps = np.maximum(largest / 127, np.finfo(np.float32).tiny).astype(np.float32)
    return np.rint(weights / steps).astype(np.int8), steps.reshape(-1)


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
