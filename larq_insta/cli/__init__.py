"""The command line, `larq-insta`. Commands import TensorFlow only where they need it."""

from __future__ import annotations

import click

from larq_insta import compat
from larq_insta.cli import convert, demo, import_weights, report, run, train, versions
from larq_insta.cli.program import Program
from larq_insta.version import __version__
from larq_insta_runtime.cli import benchmark, card

compat.choose_keras(always=True)  # in a process of ours nobody wants another


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Binary networks with instance-aware thresholds: train, convert, run."""


for _command in (
    train.train,
    train.recipes,
    import_weights.import_weights,
    convert.convert,
    run.evaluate,
    benchmark,
    report.inspect,
    run.predict,
    card,
    report.summary,
    demo.demo,
    versions.versions,
):
    cli.add_command(_command)
