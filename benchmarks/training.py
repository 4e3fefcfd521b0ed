"""Step time and peak memory of training each INSTA variant, beside its static baseline.

    python benchmarks/training.py

Each model has a process of its own, which takes steps of `Trainer` on random pictures of its
own when told to. They take turns, in another order each turn; while one works the others
wait. Printed are medians, medians of each turn's ratio to the baseline with 95 % bootstrap
intervals, the same ratio of processor time, which a shared machine disturbs less, and peak
resident memory.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import click
import numpy as np
from intervals import median_interval

EVERYWHERE = {"insta_blocks": "all", "reuse_statistics": False}
VARIANTS = {
    "ResNet18": {
        "static": ("ReActNet18", {}),
        "base": ("InstaResNet18", {}),
        "everywhere": ("InstaResNet18", EVERYWHERE),
        "plus": ("InstaResNet18", {"plus": True}),
    },
    "MobileNetV1": {
        "static": ("ReActNetA", {}),
        "base": ("InstaMobileNetV1", {}),
        "everywhere": ("InstaMobileNetV1", EVERYWHERE),
        "plus": ("InstaMobileNetV1", {"plus": True}),
    },
}


class Cost(NamedTuple):
    """Of a step: seconds, seconds of all processors, and the peak of memory so far in bytes."""

    seconds: float
    processor: float
    memory: int


def work(pipe: Connection, name: str, arguments: dict[str, Any], size: int, batch: int) -> None:
    """Takes a step for every message, and answers with its `Cost`."""
    import larq_insta  # noqa: F401  # isort: skip  (before TensorFlow: it chooses Keras 2)
    import tensorflow as tf

    from larq_insta import models
    from larq_insta.data.preprocessing import photo_preprocessing
    from larq_insta.training.trainer import Trainer

    tf.keras.utils.set_random_seed(0)
    trainer = Trainer(
        models.get(name)(input_shape=(size, size, 3), **arguments),
        photo_preprocessing(size).normalize,
        weight_decay=1e-5,
    )
    trainer.compile(tf.keras.optimizers.Adam(1e-3))
    rng = np.random.default_rng(0)
    pictures = tf.constant(rng.integers(0, 256, (batch, size, size, 3)), tf.uint8)
    labels = tf.constant(rng.integers(0, 1000, batch))
    take = trainer.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors((pictures, labels)).repeat())
    while pipe.recv():
        start, processor = time.perf_counter(), time.process_time()
        float(take(batches)["loss"])
        seconds, processor = time.perf_counter() - start, time.process_time() - processor
        unit = 1 if sys.platform == "darwin" else 1024
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        pipe.send(Cost(seconds, processor, memory))


@click.command()
@click.option("--topology", type=click.Choice(list(VARIANTS)), default="ResNet18")
@click.option("--image-size", default=224, show_default=True)
@click.option("--batch-size", default=32, show_default=True)
@click.option("--turns", default=60, show_default=True)
def main(topology: str, image_size: int, batch_size: int, turns: int) -> None:
    """Times training steps of a topology's models."""
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for variant, (name, arguments) in VARIANTS[topology].items():
        pipes[variant], end = context.Pipe()
        arguments_of_work = (end, name, arguments, image_size, batch_size)
        context.Process(target=work, args=arguments_of_work, daemon=True).start()
    costs: dict[str, list[Cost]] = {variant: [] for variant in pipes}
    order = np.random.default_rng(0)
    for turn in range(turns + 2):
        for variant in order.permutation(list(pipes)):
            pipes[variant].send(True)
            cost = pipes[variant].recv()
            if turn >= 2:  # the first two compile and fill caches
                costs[variant].append(cost)
    static = [np.array(values) for values in zip(*costs["static"], strict=True)]
    for variant, taken in costs.items():
        seconds, processor, memory = (np.array(values) for values in zip(*taken, strict=True))
        ratios = seconds / static[0]
        click.echo(
            f"{VARIANTS[topology][variant][0]} {variant}: {np.median(seconds):.3f} s a step, "
            f"ratio {median_interval(ratios)}, of processor time "
            f"{np.median(processor / static[1]):.3f}; peak {memory[-1] / 1e9:.2f} GB, "
            f"ratio {memory[-1] / static[2][-1]:.3f}"
        )
    click.echo(f"{image_size} pixels, batch {batch_size}, {turns} turns")


if __name__ == "__main__":
    main()
