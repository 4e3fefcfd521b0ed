"""Latency beside what a user would take instead: the same backbones, and MobileNetV2, in int8.

    python benchmarks/twins.py

All have random weights, and are timed in this process with one thread, taking turns in another
order each turn: by larq-insta-runtime, and where it is said by Larq Compute Engine's interpreter
with its indirect kernels and XNNPACK. Printed are medians, and the median of each turn's ratio to
the first row with its 95 % bootstrap interval. Top-1 accuracies on ImageNet are published ones, of
other people's trainings in float; nothing here has measured them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

import larq_insta  # noqa: F401  # isort: skip  (before TensorFlow: it chooses Keras 2)

import click
import larq_zoo as lqz
import numpy as np
import tensorflow as tf
from intervals import median_interval
from latency import plain
from watches import LarqStopwatch, Watch, take_turns

from larq_insta import models
from larq_insta.conversion import lowering
from larq_insta.rewriting import float_layers
from larq_insta_runtime.benchmarking import Stopwatch
from larq_insta_runtime.comparing import processor
from larq_insta_runtime.preprocessing import Preprocessing

IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
CALIBRATION = 4
INSTA, REACT, ZOO = "INSTA-BNN's paper", "ReActNet's repository", "Larq Zoo"


@dataclass(frozen=True)
class Row:
    """A file, its published accuracy in percent, and who published that."""

    content: bytes
    top1: float | None = None
    source: str = ""
    watch: Callable[[bytes], Watch] = Stopwatch


def resnet18(size: int) -> tf.keras.Model:
    """The float network, as torchvision has it."""
    layers = tf.keras.layers

    def convolution(x: tf.Tensor, filters: int, side: int, strides: int) -> tf.Tensor:
        x = layers.Conv2D(filters, side, strides, "same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    inputs = tf.keras.Input((size, size, 3))
    x = layers.MaxPool2D(3, 2, "same")(layers.ReLU()(convolution(inputs, 64, 7, 2)))
    for stage, filters in enumerate((64, 128, 256, 512)):
        for block in range(2):
            strides = 2 if stage and not block else 1
            y = layers.ReLU()(convolution(x, filters, 3, strides))
            y = convolution(y, filters, 3, 1)
            x = convolution(x, filters, 1, 2) if strides == 2 else x
            x = layers.ReLU()(layers.Add()([x, y]))
    return tf.keras.Model(inputs, layers.Dense(1000)(layers.GlobalAveragePooling2D()(x)))


def int8(model: tf.keras.Model) -> bytes:
    """All of it, pixels in and out in uint8, by TensorFlow's own converter."""
    shape = (1, *model.input_shape[1:])
    chosen = np.random.default_rng(0)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        [chosen.normal(size=shape).astype(np.float32)] for _ in range(CALIBRATION)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    return converter.convert()


def ours(name: str, size: int, **arguments: object) -> bytes:
    """As `larq-insta convert --float-layers int8 --input uint8` writes it."""
    content = lowering.lower_as_trained(models.get(name)(input_shape=(size, size, 3), **arguments))
    images = np.random.default_rng(0).normal(size=(CALIBRATION, size, size, 3))
    pixels = Preprocessing(size, 3, mean=IMAGENET[0], std=IMAGENET[1])
    return float_layers.compute_in_int8(content, images.astype(np.float32), pixels)


def rows(size: int) -> dict[str, Row]:
    shape, applications = (size, size, 3), tf.keras.applications
    insta = models.get("InstaResNet18")(input_shape=shape)
    quicknet = plain(lqz.sota.QuickNet(input_shape=shape, weights=None))
    return {
        "ResNet-18, int8": Row(int8(resnet18(size)), 69.8, "torchvision"),
        "MobileNetV1, int8": Row(
            int8(applications.MobileNet(input_shape=shape, weights=None)), 70.4, "Keras"
        ),
        "MobileNetV2, int8": Row(
            int8(applications.MobileNetV2(input_shape=shape, weights=None)), 71.3, "Keras"
        ),
        "`ReActNet18`, int8 layers": Row(ours("ReActNet18", size), 65.9, REACT),
        "`InstaResNet18`, int8 layers": Row(ours("InstaResNet18", size), 68.5, INSTA),
        "the same, everywhere": Row(ours("InstaResNet18", size, insta_blocks="all")),
        "the same, plus": Row(ours("InstaResNet18", size, plus=True)),
        "`ReActNetA`, int8 layers": Row(ours("ReActNetA", size), 69.5, REACT),
        "`InstaMobileNetV1`, int8 layers": Row(ours("InstaMobileNetV1", size)),
        "the same, everywhere ": Row(ours("InstaMobileNetV1", size, insta_blocks="all")),
        "the same, plus ": Row(ours("InstaMobileNetV1", size, plus=True), 72.2, INSTA),
        "QuickNet": Row(quicknet, 63.3, ZOO),
        "QuickNet, by Larq Compute Engine": Row(quicknet, 63.3, ZOO, LarqStopwatch),
        "`InstaResNet18`, float, plain": Row(plain(insta), 68.5, INSTA),
        "the same, by Larq Compute Engine": Row(plain(insta), 68.5, INSTA, LarqStopwatch),
    }


PAIRS = (
    ("`InstaResNet18`, int8 layers", "`ReActNet18`, int8 layers"),
    ("the same, everywhere", "`ReActNet18`, int8 layers"),
    ("the same, plus", "`ReActNet18`, int8 layers"),
    ("`InstaMobileNetV1`, int8 layers", "`ReActNetA`, int8 layers"),
    ("the same, everywhere ", "`ReActNetA`, int8 layers"),
    ("`InstaMobileNetV1`, int8 layers", "MobileNetV1, int8"),
    ("`InstaResNet18`, int8 layers", "the same, by Larq Compute Engine"),
)
"""Whose ratios are printed, too."""


@click.command()
@click.option("--image-size", default=224, show_default=True)
@click.option("--turns", default=100, show_default=True)
def main(image_size: int, turns: int) -> None:
    """Times binary networks of this package beside networks in int8."""
    timed = rows(image_size)
    seconds = take_turns({name: row.watch(row.content) for name, row in timed.items()}, turns)
    first = next(iter(seconds.values()))
    click.echo("\n| model | top-1, published | ms | ratio to ResNet-18 | file, MB |")
    click.echo("|---|---|--:|---|--:|")
    for name, row in timed.items():
        top1 = f"{row.top1} % ({row.source})" if row.top1 else ""
        click.echo(
            f"| {name.strip()} | {top1} | {np.median(seconds[name]) * 1e3:.2f} | "
            f"{median_interval(seconds[name] / first)} | {len(row.content) / 1e6:.2f} |"
        )
    for name, other in PAIRS:
        ratio = median_interval(seconds[name] / seconds[other])
        click.echo(f"\n{name.strip()} to {other.strip()}: {ratio}")
    today = datetime.now(tz=timezone.utc).date()
    click.echo(f"\n{image_size} pixels, {turns} turns, one thread, {processor()}, {today}")


if __name__ == "__main__":
    main()
