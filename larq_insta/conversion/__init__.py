"""From a Keras model to a `.tflite` file that is proven equal."""

from __future__ import annotations

from larq_insta.conversion.pipeline import check_model, convert
from larq_insta.conversion.report import Report

__all__ = ["Report", "check_model", "convert"]
