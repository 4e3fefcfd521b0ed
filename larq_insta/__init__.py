"""INSTA-BNN for Larq: binary networks with instance-aware thresholds."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import wrapt

from larq_insta import compat
from larq_insta.version import __version__

if TYPE_CHECKING:
    from larq_insta import conversion, data, models, runtime, statistics, training, weights
    from larq_insta.layers import (
        HalfTurn,
        InstaPReLU,
        InstaSign,
        InstaThreshold,
        RPReLU,
        StaticThreshold,
    )
    from larq_insta.reports.profiling import profile
    from larq_insta.zoo.foreign import instance_aware

__all__ = [
    "HalfTurn",
    "InstaPReLU",
    "InstaSign",
    "InstaThreshold",
    "RPReLU",
    "StaticThreshold",
    "__version__",
    "conversion",
    "data",
    "instance_aware",
    "models",
    "profile",
    "runtime",
    "statistics",
    "training",
    "weights",
]

_HOMES = {
    "HalfTurn": "layers",
    "InstaPReLU": "layers",
    "InstaSign": "layers",
    "InstaThreshold": "layers",
    "RPReLU": "layers",
    "StaticThreshold": "layers",
    "instance_aware": "zoo.foreign",
    "profile": "reports.profiling",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'larq_insta' has no attribute '{name}'")
    home = importlib.import_module(f"larq_insta.{_HOMES.get(name, name)}")
    return getattr(home, name) if name in _HOMES else home


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


compat.choose_keras()


# Keras and Larq find our classes by name ("insta_sign", a saved model), so these must
# be registered whichever package is imported first; importing TensorFlow here for that
# would make `larq-insta --help` take seconds.
@wrapt.when_imported("larq")
def _register_with_larq(_larq: ModuleType) -> None:
    importlib.import_module("larq_insta.layers")


@wrapt.when_imported("tensorflow")
def _register_with_tensorflow(tensorflow: ModuleType) -> None:
    compat.check_keras(tensorflow)
    compat.mend_reading()
    if "larq" not in sys.modules:  # else Larq is just importing TensorFlow
        importlib.import_module("larq_insta.layers")
