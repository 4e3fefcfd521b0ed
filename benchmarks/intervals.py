"""How sure a median is."""

from __future__ import annotations

import numpy as np


def median_interval(values: np.ndarray) -> str:
    """Median and its 95 % bootstrap interval, as `1.024 (1.010 to 1.035)`."""
    draws = np.random.default_rng(0).choice(values, (10_000, len(values)))
    low, high = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
    return f"{np.median(values):.3f} ({low:.3f} to {high:.3f})"
