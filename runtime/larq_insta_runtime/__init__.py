"""Runs Larq's binary networks with stock LiteRT, on a Raspberry Pi too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from larq_insta_runtime.delegate import kernels, load_delegate
from larq_insta_runtime.version import __version__

if TYPE_CHECKING:
    from larq_insta_runtime.running import LiteModel as Model

__all__ = ["Model", "__version__", "kernels", "load_delegate"]


def __getattr__(name: str) -> Any:
    if name != "Model":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from larq_insta_runtime.running import LiteModel  # which reads pictures, too

    return LiteModel
