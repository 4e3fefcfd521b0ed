"""The version of this package, which is larq-insta's."""

from __future__ import annotations

__version__ = "0.1.0"
