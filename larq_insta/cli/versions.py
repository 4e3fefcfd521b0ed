"""`larq-insta versions`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from larq_insta.version import __version__
from larq_insta_runtime.commands import command

if TYPE_CHECKING:
    from larq_insta_runtime.environment import Fact

_PACKAGES = (
    "tensorflow",
    "keras",
    "tf_keras",
    "larq",
    "larq-zoo",
    "larq-compute-engine",
    "tensorflow-datasets",
    "protobuf",
)
_PATIENCE = 120
"""Seconds that importing TensorFlow may take."""

_IMPORTS = """
import json
import larq_insta
import tensorflow as tf
import larq_compute_engine
details = tf.config.experimental.get_device_details
found = tf.config.list_physical_devices("GPU")
print(json.dumps([details(gpu).get("device_name", gpu.name) for gpu in found]))
"""


@command()
def versions() -> None:
    """Versions, kernels and devices here, for reports of faults.

    What is missing or broken is told in its line. The last one takes some seconds, as TensorFlow,
    Larq and Larq Compute Engine are imported for it, in a process of their own.
    """
    from larq_insta_runtime import environment

    for line in environment.lines(_facts()):
        click.echo(line)


def _facts() -> Iterator[Fact]:
    from larq_insta_runtime import environment

    yield from environment.system()
    yield from environment.versions(["larq-insta"], __version__)
    yield from environment.versions(_PACKAGES)
    yield from environment.runtime()
    yield "GPUs", _gpus


def _gpus() -> str:
    code = f"import sys; sys.path[:] = {sys.path!r}{_IMPORTS}"
    try:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-I", "-W", "ignore", "-c", code],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return f"broken: importing TensorFlow takes longer than {_PATIENCE} seconds"
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
        return f"broken: importing TensorFlow and Larq ends with code {done.returncode}: {last}"
    names = json.loads(done.stdout.splitlines()[-1])
    return ", ".join(names) or "none that TensorFlow sees, which can be imported, as Larq can"
