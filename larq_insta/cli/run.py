"""`larq-insta predict` and `evaluate`: model files of both kinds at work."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import click

from larq_insta.cli.options import data_options, load_for, not_empty
from larq_insta_runtime.cli import pictures_and_top, predict_each
from larq_insta_runtime.commands import command, path
from larq_insta_runtime.progress import counted


@command()
@click.argument("file", type=path())
@pictures_and_top
def predict(file: Path, pictures: tuple[Path, ...], top: int) -> None:
    """Class names and probabilities of each IMAGE by FILE.

    FILE is a .tflite file, a checkpoint, or a trained model in the package: imagenette (for
    photographs of ten kinds of things), fashion_mnist (single pieces of clothing, light on
    black). A picture that cannot be read is told and left out, and the exit code then is 2.
    """
    from larq_insta import runtime

    with closing(runtime.open_model(file, processes=1)) as model:
        predict_each(model, pictures, top)


@command()
@click.argument("file", type=path())
@click.option("--dataset", callback=not_empty, help="By default the one of the training.")
@data_options
def evaluate(file: Path, dataset: str | None, data_dir: str | None, manual_dir: str | None) -> None:
    """Test accuracy of FILE, a Keras checkpoint or a converted .tflite file."""
    import time

    from larq_insta import runtime

    with closing(runtime.open_model(file, processes=os.cpu_count() or 1)) as model:
        loaded = load_for(
            model.card, dataset or model.card.dataset, data_dir=data_dir, manual_dir=manual_dir
        )
        start = time.monotonic()
        with loaded.naming_unreadable():
            batches = loaded.evaluation_batches(loaded.test)
            told = counted(batches, loaded.test.size, "Evaluating")
            accuracy, pictures = runtime.accuracy(model, told)
    click.echo(
        f"Test accuracy {accuracy:.2%} on {pictures:,} pictures of {loaded.name}, "
        f"{time.monotonic() - start:.0f} s: {file}"
    )
