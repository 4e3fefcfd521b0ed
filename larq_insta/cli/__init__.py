"""The command line, `larq-insta`. Commands import TensorFlow only where they need it."""

from __future__ import annotations

import click

from larq_insta.cli import convert, demo, import_weights, report, run, train
from larq_insta.cli.group import Group
from larq_insta.version import __version__


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Binary networks with instance-aware thresholds: train, convert, run."""


for _command in (
    train.train,
    train.recipes,
    import_weights.import_weights,
    convert.convert,
    run.evaluate,
    run.benchmark,
    report.inspect,
    run.predict,
    report.summary,
    demo.demo,
):
    cli.add_command(_command)
