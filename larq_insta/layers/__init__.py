"""Public door to the layers and quantizers; importing it registers them with Keras and Larq."""

from __future__ import annotations

import sys

from larq_insta.layers import activations, int8_weights, quantizers, thresholds, turning
from larq_insta.layers.activations import InstaPReLU, RPReLU
from larq_insta.layers.quantizers import InstaSign, LeanApproxSign
from larq_insta.layers.thresholds import InstaThreshold, StaticThreshold
from larq_insta.layers.turning import HalfTurn

__all__ = [
    "HalfTurn",
    "InstaPReLU",
    "InstaSign",
    "InstaThreshold",
    "LeanApproxSign",
    "RPReLU",
    "StaticThreshold",
]

# What `.keras` files of 0.1.0 name: Keras looks there for classes where nobody has imported us.
for _module in (activations, int8_weights, quantizers, thresholds, turning):
    sys.modules[_module.__name__.replace(".layers", "")] = _module
