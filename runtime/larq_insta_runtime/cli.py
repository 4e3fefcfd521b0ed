"""The command line, `larq-insta-run`, and what `larq-insta` shares with it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from larq_insta_runtime.commands import Group, command, in_one_line, path, shown
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.version import __version__

if TYPE_CHECKING:
    from larq_insta_runtime.running import Classifier

F = TypeVar("F", bound=Callable[..., Any])

_MANY_PICTURES = 100


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Runs binary networks on this device: predict, evaluate, benchmark."""


def pictures_and_top(function: F) -> F:
    """What predicting takes behind the model."""
    function = click.option("--top", type=click.IntRange(min=1), default=3, show_default=True)(
        function
    )
    argument = click.argument("pictures", metavar="IMAGE...", nargs=-1, required=True, type=path())
    return argument(function)


@command()
@click.argument("file", type=path())
@pictures_and_top
def predict(file: Path, pictures: tuple[Path, ...], top: int) -> None:
    """Class names and probabilities of each IMAGE by FILE.

    FILE is a .tflite file that larq-insta has converted, or a trained model in the package:
    imagenette (for photographs of ten kinds of things), fashion_mnist (single pieces of clothing,
    light on black). A picture that cannot be read is told and left out, and the exit code then
    is 2.
    """
    from larq_insta_runtime.running import open_file

    with closing(open_file(file, processes=1)) as model:
        predict_each(model, pictures, top)


def predict_each(model: Classifier, pictures: Sequence[Path], top: int) -> None:
    """Tells each picture's classes.

    # Raises
        InputError: at the end, if pictures could not be read.
    """
    from larq_insta_runtime.running import answer

    unread: list[Path] = []
    # Answers on a terminal are progress enough, and would tear the bar.
    hidden = sys.stdout.isatty() or len(pictures) < _MANY_PICTURES
    with click.progressbar(pictures, label="Predicting", file=sys.stderr, hidden=hidden) as bar:
        for picture in bar:
            try:
                image = model.card.preprocessing.read(picture)
            except InputError as error:
                if len(pictures) == 1:
                    raise
                click.echo(in_one_line(error), err=True)
                unread.append(picture)
            else:
                click.echo(shown(f"{picture}: {answer(model, image, top)}"))
    if unread:
        raise InputError(
            f"All pictures must be readable; {len(unread)} of {len(pictures)} are not, the first "
            f"{unread[0]}: mend or leave them out."
        )


@command()
@click.argument("file", type=path())
@click.argument("folder", type=path())
def evaluate(file: Path, folder: Path) -> None:
    """Accuracy of FILE, a converted .tflite file, on the pictures of FOLDER.

    FOLDER holds one folder for each class, with the class's name.
    """
    import time

    from larq_insta_runtime.running import open_file
    from larq_insta_runtime.testing import labelled_pictures, test

    with closing(open_file(file, processes=os.cpu_count() or 1)) as model:
        paths, labels, remarks = labelled_pictures(folder, model.card.class_names)
        for words in remarks:
            click.echo(shown(words), err=True)
        start = time.monotonic()
        right = 0
        with click.progressbar(length=len(paths), label="Evaluating", file=sys.stderr) as bar:
            for count, hits in test(model, paths, labels):
                right += hits
                bar.update(count)
    click.echo(
        f"Accuracy {right / len(paths):.2%} on {len(paths):,} pictures of {shown(str(folder))}, "
        f"{time.monotonic() - start:.0f} s: {file}"
    )


@command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=path())
@click.option("--runs", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--ops", is_flag=True, help="The time of each operator, too.")
@click.option("--json", "record", type=path(), help="A new file for all figures.")
def benchmark(
    files: tuple[Path, ...], runs: int, threads: int, ops: bool, record: Path | None
) -> None:
    """How long each FILE, any .tflite file or a trained model's name, takes for one picture here.

    They take turns, each in a process of its own.
    """
    from larq_insta_runtime import benchmarking, comparing, packaged, running, writing

    if record is not None:
        writing.check_writable(record)
    contents = [(file, running.read_content(packaged.find(file))) for file in files]
    result = comparing.compare(contents, runs, threads)
    for line in comparing.described(result):
        click.echo(shown(line))
    if ops:
        for file, content in contents:
            groups = benchmarking.operator_times(content, num_threads=threads)
            click.echo(f"\n{shown(str(file))}\n\n{benchmarking.operator_table(groups)}")
    if record is not None:
        with writing.written_whole(record) as partial:
            partial.write_text(json.dumps(result, indent=2) + "\n")


@command()
@click.argument("file", type=path())
def card(file: Path) -> None:
    """What FILE is: its classes, pictures, training, accuracy, limits and licence.

    FILE is a .keras or .tflite file that larq-insta has written, or a trained model in the package,
    imagenette or fashion_mnist.
    """
    from larq_insta_runtime.describing import describe

    for line in describe(file):
        click.echo(line)


@command()
def versions() -> None:
    """Versions, kernels and processor here, for reports of faults.

    What is missing or broken is told in its line.
    """
    from larq_insta_runtime import environment

    for line in environment.lines(environment.facts()):
        click.echo(line)


for _command in (predict, evaluate, benchmark, card, versions):
    cli.add_command(_command)
