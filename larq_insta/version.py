"""The version of this package, and of those that it computes with."""

from __future__ import annotations

from importlib import metadata

__version__ = "0.1.0"

_PACKAGES = ("tensorflow", "larq", "larq-compute-engine")


def installed_versions() -> dict[str, str]:
    """By package; what files tell of where they come from."""
    return {"larq_insta": __version__} | {name: metadata.version(name) for name in _PACKAGES}
