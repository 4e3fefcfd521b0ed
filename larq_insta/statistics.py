"""Public door to the statistics."""

from __future__ import annotations

from larq_insta.layers.statistics import cube_mean, get, mean, skewness, variance

__all__ = ["cube_mean", "get", "mean", "skewness", "variance"]
