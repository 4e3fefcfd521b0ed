"""Public door to weights of published ReActNets."""

from __future__ import annotations

from larq_insta.checkpoints.reactnet import ARGUMENTS, load_reactnet

__all__ = ["ARGUMENTS", "load_reactnet"]
