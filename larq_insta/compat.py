"""What differs between the versions of TensorFlow and Keras that Larq runs on.

Larq needs Keras 2. Up to TensorFlow 2.15 `tf.keras` is that, the package `keras`. Since 2.16
it is Keras 3, or Keras 2 as the package `tf_keras` if the environment variable
`TF_USE_LEGACY_KERAS` asked for it before TensorFlow was imported.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import sys
import zipfile
from importlib import metadata, util
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

_ASK = "TF_USE_LEGACY_KERAS"
CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
"""Members of a `.keras` file."""


def choose_keras(always: bool = False) -> None:
    """Asks TensorFlow, if it is not imported yet, for Keras 2 (since 2.16).

    # Arguments
        always: Whether also where something else was asked for.
    """
    if "tensorflow" in sys.modules or util.find_spec("tf_keras") is None:
        return
    try:
        newest = metadata.version("keras")
    except metadata.PackageNotFoundError:
        return
    if _major(newest) > 2 and (always or _ASK not in os.environ):
        os.environ[_ASK] = "1"


def check_keras(tensorflow: ModuleType) -> None:
    """Whether `tf.keras` is what Larq can be imported with.

    # Raises
        ImportError: if not.
    """
    version = getattr(tensorflow.keras, "__version__", "2")  # Keras 2 does not say
    if _major(version) == 2:
        return
    missing = util.find_spec("tf_keras") is None
    release = ".".join(tensorflow.__version__.split(".")[:2])
    remedy = f'pip install "tf_keras=={release}.*" and ' if missing else ""
    raise ImportError(
        f"larq_insta needs Keras 2, as Larq does; TensorFlow {tensorflow.__version__} was imported "
        f"with Keras {version}: {remedy}import larq_insta before tensorflow and larq, or set "
        f"{_ASK}=1 before Python starts."
    )


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def keras_package() -> str:
    """`keras` up to TensorFlow 2.15, `tf_keras` since 2.16."""
    import tensorflow as tf

    return tf.keras.Model.__module__.partition(".")[0]


def keras_module(name: str) -> Any:
    """A module of the Keras that TensorFlow uses."""
    return importlib.import_module(f"{keras_package()}.{name}")


def with_common_names(config: str) -> str:
    """A file's configuration that names modules of Keras as Keras 2.15 does.

    tf_keras understands these names, but Keras 2.15 none of tf_keras's.
    """
    return re.sub(r'("module": *")tf_keras\.', r"\1keras.", config)


def use_common_names(path: Path) -> None:
    """Rewrites a `.keras` file that tf_keras wrote with such a configuration."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[CONFIG] = with_common_names(members[CONFIG].decode()).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def mend_reading() -> None:
    """Lets tf_keras read its own `.keras` files on Python 3.12.

    It reads weights out of the archive while it unpacks the rest. Since 3.12 seeking in a member
    that is not compressed is relative to where the archive was read last, by whomever.
    """
    if sys.version_info >= (3, 12):
        saving = keras_module("src.saving.saving_lib")
        saving.zipfile = SimpleNamespace(**vars(zipfile) | {"ZipFile": _ReadAtOnce})


class _ReadAtOnce(zipfile.ZipFile):
    """An archive whose members are read whole when they are opened."""

    def open(self, name: Any, mode: Any = "r", *args: Any, **kwargs: Any) -> Any:
        file = super().open(name, mode, *args, **kwargs)
        if mode != "r":
            return file
        with file:
            return io.BytesIO(file.read())
