"""`larq-insta predict`, `evaluate` and `benchmark`: model files at work."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from larq_insta.cli.group import command, in_one_line, shown
from larq_insta.cli.options import data_options, load_for, not_empty, path
from larq_insta.lite.errors import InputError

_MANY_PICTURES = 100


@command()
@click.argument("file", type=path())
@click.argument("pictures", metavar="IMAGE...", nargs=-1, required=True, type=path())
@click.option("--top", type=click.IntRange(min=1), default=3, show_default=True)
def predict(file: Path, pictures: tuple[Path, ...], top: int) -> None:
    """Class names and probabilities of each IMAGE by FILE.

    FILE is a .tflite file, a checkpoint, or fashion_mnist, the trained model in the package
    (for single pieces of clothing, light on black). A picture that cannot be read is told and
    left out, and the exit code then is 2.
    """
    from larq_insta import runtime

    model = runtime.open_model(file, processes=1)
    unread: list[Path] = []
    # Answers on a terminal are progress enough, and would tear the bar.
    hidden = sys.stdout.isatty() or len(pictures) < _MANY_PICTURES
    with click.progressbar(pictures, label="Predicting", file=sys.stderr, hidden=hidden) as bar:
        for path in bar:
            try:
                image = model.card.preprocessing.read(path)
            except InputError as error:
                if len(pictures) == 1:
                    raise
                click.echo(in_one_line(error), err=True)
                unread.append(path)
            else:
                click.echo(shown(f"{path}: {runtime.answer(model, image, top)}"))
    if unread:
        raise InputError(
            f"All pictures must be readable; {len(unread)} of {len(pictures)} are not, the first "
            f"{unread[0]}: mend or leave them out."
        )


@command()
@click.argument("file", type=path())
@click.option("--dataset", callback=not_empty, help="By default the one of the training.")
@data_options
def evaluate(file: Path, dataset: str | None, data_dir: str | None, manual_dir: str | None) -> None:
    """Test accuracy of FILE, a Keras checkpoint or a converted .tflite file."""
    import time

    from larq_insta import runtime

    model = runtime.open_model(file, processes=os.cpu_count() or 1)
    loaded = load_for(
        model.card, dataset or model.card.dataset, data_dir=data_dir, manual_dir=manual_dir
    )
    start = time.monotonic()
    with loaded.naming_unreadable():
        accuracy, pictures = runtime.accuracy(model, loaded.evaluation_batches(loaded.test))
    click.echo(
        f"Test accuracy {accuracy:.2%} on {pictures:,} pictures of {loaded.name}, "
        f"{time.monotonic() - start:.0f} s: {file}"
    )


@command()
@click.argument("file", type=path())
@click.option("--runs", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--ops", is_flag=True, help="The time of each operator, too.")
def benchmark(file: Path, runs: int, threads: int, ops: bool) -> None:
    """How long FILE, a .tflite file, takes for one picture on this machine."""
    import numpy as np

    from larq_insta.lite import benchmarking, graph, pool, running

    content = running.read_content(file)
    # In a process that may crash, as strangers' files can make it.
    pool.LitePool(content, 1).try_out(benchmarking.random_inputs(content))
    stopwatch = benchmarking.Stopwatch(content, threads)
    times = np.array([stopwatch.seconds() for _ in range(runs)]) * 1e3
    low, high = np.quantile(times, (0.05, 0.95))
    click.echo(
        f"{file}: median {np.median(times):.2f} ms (90 % of {runs} runs: {low:.2f} to {high:.2f}), "
        f"threads: {threads}; {len(content) / 1e6:.2f} MB; operators other than products move "
        f"{graph.Graph(content).traffic / 1e6:.1f} MB."
    )
    if ops:
        groups = benchmarking.operator_times(content, num_threads=threads)
        click.echo(benchmarking.operator_table(groups))
