"""Runs Larq's binary networks with stock LiteRT, on a Raspberry Pi too."""

from __future__ import annotations

from larq_insta_runtime.delegate import kernels, load_delegate

__all__ = ["kernels", "load_delegate"]
