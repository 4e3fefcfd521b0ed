"""Converts Larq Zoo's models with random weights, for the table of docs/conversion.md.

    python benchmarks/foreign.py

Each is converted for both runtimes, and checked with 16 random pictures. All take half an hour and
8 GB.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path

import larq_insta  # noqa: F401  # isort: skip  (before TensorFlow: it chooses Keras 2)

import click
import larq_zoo as lz
import numpy as np
import tensorflow as tf

from larq_insta import conversion
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.preprocessing import Preprocessing

MODELS = (
    "QuickNet", "QuickNetSmall", "QuickNetLarge", "BinaryAlexNet", "BiRealNet", "BinaryResNetE18",
    "BinaryDenseNet28", "BinaryDenseNet37", "BinaryDenseNet37Dilated", "BinaryDenseNet45",
    "MeliusNet22", "RealToBinaryNet", "XNORNet", "DoReFaNet",
)  # fmt: skip
_PICTURES = 16
_CARD = Card("model", {}, "random", tuple(map(str, range(1000))), Preprocessing(224, 3))


def build(name: str) -> tf.keras.Model:
    """A model of Larq Zoo with random weights."""
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(1)
    return getattr(lz.sota if hasattr(lz.sota, name) else lz.literature, name)(weights=None)


def convert(model: tf.keras.Model, target: Path, runtime: str) -> conversion.Report:
    """The report of a model's conversion."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(_PICTURES, *model.input_shape[1:])).astype(np.float32)
    labels = rng.integers(0, 1000, _PICTURES)
    return conversion.convert(model, target, _CARD, images, labels, runtime=runtime)


def _cells(report: conversion.Report) -> list[str]:
    deviation = max(report.device_deviation, *(block.deviation for block in report.blocks))
    equal = sum(not block.differs for block in report.blocks)
    return [f"{equal} of {len(report.blocks)}, {deviation:.0e}", f"{report.size / 1e6:.2f}"]


def _row(name: str, folder: Path) -> str:
    cells = []
    for runtime in ("lce", "tflite"):
        try:
            report = convert(build(name), folder / f"{name}.tflite", runtime)
        except InputError as error:
            cells += [str(error), ""]
            continue
        if runtime == "lce":
            cells.append(f"{report.binary_convolutions} of {report.expected_convolutions}")
        cells += _cells(report)
        if runtime == "lce":
            cells.append(f"{min(report.agreement, report.device_agreement):.0%}")
    return f"| `{name}` | {' | '.join(cells)} |"


@click.command()
@click.option("--model", multiple=True, default=MODELS)
def main(model: tuple[str, ...]) -> None:
    """Prints a row for each model."""
    warnings.simplefilter("ignore")
    logging.getLogger("larq").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        for name in model:
            click.echo(_row(name, Path(folder)))


if __name__ == "__main__":
    main()
