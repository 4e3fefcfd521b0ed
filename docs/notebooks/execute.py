"""Runs the notebook from its first cell to its last, and keeps its outputs in it.

    python docs/notebooks/execute.py

It needs nbclient, nbformat, ipykernel and Matplotlib. The data set is downloaded, or taken from a
folder with its files: `--files /usr/share/datasets/fashion-mnist` (Debian's
`dataset-fashion-mnist`). Python, packages and date are told by the notebook's last code cell.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).with_name("quickstart.ipynb")
MADE_OF = "outputs_of_code"
"""Member of the notebook's metadata that tells of which code its outputs are."""
SECONDS = 1200
"""A cell may take."""


class ThisPython(AsyncKernelManager):
    """Starts kernels of the Python that runs this, whatever kernels the machine has."""

    @property
    def kernel_spec(self) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        command += ["--log-level=ERROR"]  # not that its sockets are not encrypted
        return KernelSpec(argv=command, display_name="Python 3", language="python")


def executed(notebook: nbformat.NotebookNode, folder: Path, **environment: str) -> None:
    """Runs all cells in a folder of their own, and stores what they gave.

    # Raises
        nbclient.exceptions.CellExecutionError: if a cell fails.
    """
    client = NotebookClient(
        notebook,
        km=ThisPython(),
        timeout=SECONDS,
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
    )
    client.execute(env={**os.environ, **environment})
    # Which Python it was stands in the outputs; here it would change with every run.
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata[MADE_OF] = digest(notebook)


def digest(notebook: Mapping[str, Any]) -> str:
    """Of the code, so that stored outputs can be told from those of other code."""
    code = (cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code")
    return hashlib.sha256("\0".join("".join(source) for source in code).encode()).hexdigest()


@click.command()
@click.option("--files", help="A folder with the data set's files, in place of the network.")
@click.option("--data-dir", help="Where TensorFlow Datasets keeps what it has prepared.")
@click.option("--output", default=NOTEBOOK, type=click.Path(path_type=Path), help="By default it.")
def main(files: str | None, data_dir: str | None, output: Path) -> None:
    """Runs the notebook and keeps its outputs."""
    notebook = nbformat.read(NOTEBOOK, nbformat.NO_CONVERT)
    given = {"FASHION_MNIST_FILES": files, "TFDS_DATA_DIR": data_dir}
    with tempfile.TemporaryDirectory() as folder:
        executed(notebook, Path(folder), **{name: x for name, x in given.items() if x})
    nbformat.write(notebook, output)
    click.echo(f"{output}: {output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
