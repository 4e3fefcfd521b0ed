"""Latency, float traffic and size of converted models, beside the static baseline and Larq Zoo.

    python benchmarks/latency.py [--by lce]

Each model has random weights. "plain" is what `lce.convert_keras_model` makes, the others are
what `larq-insta convert` makes. All are timed in this process by larq-insta-runtime, or with
`--by lce` by Larq Compute Engine's interpreter, taking turns in another order each turn. Printed
are medians, where 90 % of the times lie, and the median of each turn's ratio to the topology's
plain baseline with its 95 % bootstrap interval.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone

import larq_insta  # noqa: F401  # isort: skip  (before TensorFlow: it chooses Keras 2)

import click
import larq_compute_engine as lce
import larq_zoo as lqz
import numpy as np
import tensorflow as tf
from intervals import median_interval
from watches import LarqStopwatch, Watch, take_turns

from larq_insta import models, weights
from larq_insta.conversion import builtin, folding, lowering
from larq_insta.rewriting import float_weights
from larq_insta_runtime.benchmarking import Stopwatch
from larq_insta_runtime.comparing import processor
from larq_insta_runtime.graph import Graph

WATCHES: dict[str, Callable[[bytes, int], Watch]] = {"runtime": Stopwatch, "lce": LarqStopwatch}
TOPOLOGIES: dict[str, tuple[Callable[..., tf.keras.Model], str]] = {
    "ResNet18": (models.ReActNet18, "InstaResNet18"),
    "MobileNetV1": (models.ReActNetA, "InstaMobileNetV1"),
    "QuickNet": (lqz.sota.QuickNet, "InstaQuickNet"),
    "RealToBinary": (lqz.literature.RealToBinaryNet, "InstaRealToBinary"),
}
YARDSTICKS = (lqz.sota.QuickNet, lqz.literature.BinaryResNetE18, lqz.literature.RealToBinaryNet)


def plain(model: tf.keras.Model) -> bytes:
    with lowering.as_trained(model):
        return lce.convert_keras_model(model)


def contents(topology: str, size: int) -> dict[str, bytes]:
    """Names and files; the first is the baseline."""
    build, insta = TOPOLOGIES[topology]
    static, shape = build.__name__, (size, size, 3)
    baseline = build(input_shape=shape, weights=None)
    base = models.get(insta)(input_shape=shape)
    everywhere = models.get(insta)(input_shape=shape, insta_blocks="all")
    found = {
        f"{static}, plain": plain(baseline),
        static: lowering.lower_as_trained(baseline),
        f"{insta}, everywhere, plain": plain(everywhere),
        f"{insta}, everywhere": lowering.lower_as_trained(everywhere),
        insta: lowering.lower_as_trained(base),
        f"{insta}, plus": lowering.lower_as_trained(
            models.get(insta)(input_shape=shape, plus=True)
        ),
    }
    if build in models.MODELS.values():  # else nobody publishes it for PyTorch
        imported = models.get(insta)(input_shape=shape, **weights.ARGUMENTS)
        found[f"{insta}, as imported"] = lowering.lower_as_trained(imported)
    found[f"{insta}, int8"] = float_weights.store(found[insta], "int8")
    with lowering.as_trained(base):
        found[f"{insta}, --runtime tflite"] = builtin.lower(folding.fold(base))
    return found


def yardsticks(size: int) -> dict[str, bytes]:
    shape = (size, size, 3)
    return {
        f"{make.__name__}, plain": plain(make(input_shape=shape, weights=None))
        for make in YARDSTICKS
    }


def row(name: str, content: bytes, seconds: np.ndarray, ratio: np.ndarray | None) -> str:
    low, high = np.quantile(seconds, (0.05, 0.95)) * 1e3
    return (
        f"| {name} | {np.median(seconds) * 1e3:.2f} | {low:.2f} to {high:.2f} | "
        f"{'' if ratio is None else median_interval(ratio)} | "
        f"{Graph(content).traffic / 1e6:.1f} | {len(content) / 1e6:.2f} |"
    )


@click.command()
@click.option("--topology", multiple=True, default=("ResNet18", "MobileNetV1"), show_default=True)
@click.option("--image-size", default=224, show_default=True)
@click.option("--threads", multiple=True, default=(1, 2), show_default=True)
@click.option("--turns", default=200, show_default=True)
@click.option("--by", type=click.Choice(list(WATCHES)), default="runtime", show_default=True)
def main(
    topology: tuple[str, ...], image_size: int, threads: tuple[int, ...], turns: int, by: str
) -> None:
    """Times the models of each topology, and Larq Zoo's."""
    groups: list[Callable[[int], dict[str, bytes]]] = [
        lambda size, name=name: contents(name, size) for name in topology
    ]
    files = [group(image_size) for group in [*groups, yardsticks]]
    together = {name: content for group in files for name, content in group.items()}
    for count in threads:
        watches = {name: WATCHES[by](content, count) for name, content in together.items()}
        seconds = take_turns(watches, turns)
        click.echo(f"\nby {by}, threads: {count}\n")
        click.echo("| model | ms | 90 % of times | ratio to the baseline | MB moved | file, MB |")
        click.echo("|---|--:|---|---|--:|--:|")
        for group, has_baseline in zip(files, [True] * len(topology) + [False], strict=True):
            baseline = next(iter(group))
            for name, content in group.items():
                ratio = seconds[name] / seconds[baseline] if has_baseline else None
                click.echo(row(name, content, seconds[name], ratio))
    today = datetime.now(tz=timezone.utc).date()
    click.echo(f"\n{image_size} pixels, {turns} turns, {processor()}, {today}")


if __name__ == "__main__":
    main()
