"""Data sets of labelled pictures, by name or folder, in TensorFlow's graphs."""

from __future__ import annotations

from larq_insta.data.loading import load

__all__ = ["load"]
