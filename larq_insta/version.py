"""The version of this package, and of those that it computes with."""

from __future__ import annotations

__version__ = "0.1.0"

_PACKAGES = ("tensorflow", "larq", "larq-compute-engine")


def installed_versions() -> dict[str, str]:
    """By package; what files tell of where they come from."""
    from importlib import metadata  # which alone takes longer than the rest of the face

    return {"larq_insta": __version__} | {name: metadata.version(name) for name in _PACKAGES}
