"""Public door to the layers."""

from __future__ import annotations

from larq_insta.activations import InstaPReLU, RPReLU
from larq_insta.thresholds import InstaThreshold, StaticThreshold
from larq_insta.turning import HalfTurn

__all__ = ["HalfTurn", "InstaPReLU", "InstaThreshold", "RPReLU", "StaticThreshold"]
