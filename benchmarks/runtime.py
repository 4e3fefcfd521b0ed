"""Latency of converted files by larq-insta-runtime, beside Larq Compute Engine's interpreter.

    python benchmarks/runtime.py

Each model has random weights. All are timed in this process, one thread and 224 pixels, taking
turns in another order each turn: by Larq Compute Engine's interpreter with its indirect kernels
and XNNPACK, and by LiteRT with our delegate, once with each kind of kernels that this processor
has, and with two threads. Printed are medians, where 90 % of the times lie, and the median of
each turn's ratio to Larq Compute Engine's interpreter with its 95 % bootstrap interval.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone

import click
import numpy as np
from intervals import median_interval
from watches import LarqStopwatch, Watch, take_turns

from larq_insta import models
from larq_insta.conversion import lowering
from larq_insta_runtime import comparing, delegate
from larq_insta_runtime.benchmarking import Stopwatch


@contextmanager
def kernels(name: str) -> Iterator[None]:
    os.environ["LARQ_INSTA_KERNELS"] = name
    try:
        yield
    finally:
        del os.environ["LARQ_INSTA_KERNELS"]


def watches(content: bytes) -> dict[str, Watch]:
    """By names; the first is what the others are compared with."""
    found: dict[str, Watch] = {"LCE, indirect": LarqStopwatch(content)}
    for name in delegate.kernels():
        with kernels(name):
            found[name] = Stopwatch(content)
    found["two threads"] = Stopwatch(content, 2)
    return found


@click.command()
@click.option(
    "--model", multiple=True, default=("InstaResNet18", "InstaMobileNetV1"), show_default=True
)
@click.option("--image-size", default=224, show_default=True)
@click.option("--turns", default=100, show_default=True)
def main(model: tuple[str, ...], image_size: int, turns: int) -> None:
    """Times models of this package by both interpreters."""
    for name in model:
        content = lowering.lower_as_trained(models.get(name)(input_shape=(image_size,) * 2 + (3,)))
        seconds = take_turns(watches(content), turns)
        click.echo(f"\n{name}\n\n| by | ms | 90 % of times | ratio |\n|---|--:|---|---|")
        baseline = next(iter(seconds.values()))
        for reader, values in seconds.items():
            low, high = np.quantile(values, (0.05, 0.95)) * 1e3
            click.echo(
                f"| {reader} | {np.median(values) * 1e3:.2f} | {low:.2f} to {high:.2f} | "
                f"{median_interval(values / baseline)} |"
            )
    today = datetime.now(tz=timezone.utc).date()
    click.echo(f"\n{image_size} pixels, {turns} turns, {comparing.processor()}, {today}")


if __name__ == "__main__":
    main()
