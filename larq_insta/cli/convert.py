"""`larq-insta convert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from larq_insta.cli.options import check_fits, data_options, load_for, not_empty, trained
from larq_insta_runtime.commands import command, path
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.progress import stages

if TYPE_CHECKING:
    import numpy as np

    from larq_insta.data.dataset import ImageDataset
    from larq_insta_runtime.card import Card


@command()
@click.argument("checkpoint", type=path(), callback=trained)
@click.argument("target", metavar="OUT.tflite", type=path())
@click.option(
    "--dataset",
    callback=not_empty,
    help="Pictures for the check; by default those of the training.",
)
@data_options
@click.option(
    "--input",
    "taken",
    type=click.Choice(["normalized", "symmetric", "unit", "pixels", "uint8"]),
    help="What a checkpoint takes that larq_insta has not written: pictures normalized as the data "
    "set's, or from -1 to 1, 0 to 1 or 0 to 255. By default found by its accuracy. Of any "
    "checkpoint, with int8 layers: uint8, for a file that takes pixels as they are.",
)
@click.option("--pictures", type=int, default=256, show_default=True, help="For the check.")
@click.option("--no-fold", is_flag=True, help="Keep the model's operations as they are.")
@click.option(
    "--float-weights",
    type=click.Choice(["float32", "float16", "int8"]),
    default="float32",
    show_default=True,
    help="How weights that are not binary are stored.",
)
@click.option(
    "--float-layers",
    type=click.Choice(["float32", "int8"]),
    default="float32",
    show_default=True,
    help="How convolutions and dense layers that are not binary are computed.",
)
@click.option(
    "--calibration",
    type=int,
    default=256,
    show_default=True,
    help="Training pictures by which steps of int8 layers are chosen.",
)
@click.option(
    "--runtime",
    type=click.Choice(["lce", "tflite"]),
    default="lce",
    show_default=True,
    help="Larq Compute Engine, or any TensorFlow Lite: larger and slower.",
)
@click.option("--allow-differences", is_flag=True, help="Write a file that fails the check, too.")
def convert(
    checkpoint: Path,
    target: Path,
    dataset: str | None,
    data_dir: str | None,
    manual_dir: str | None,
    taken: str | None,
    pictures: int,
    no_fold: bool,
    float_weights: str,
    float_layers: str,
    calibration: int,
    runtime: str,
    allow_differences: bool,
) -> None:
    """Convert CHECKPOINT to a .tflite file for phones and boards, and check it.

    The file is written only if every binary convolution stayed binary and it computes what
    Keras does, block by block and on real test pictures as a whole; OUT.tflite.json reports.
    """
    from larq_insta import conversion
    from larq_insta.checkpoints import keras_files
    from larq_insta_runtime.card import Card

    pixels = taken == "uint8"
    if pixels:
        taken = None
    if pictures < 1:
        raise InputError(f"The check needs at least 1 picture; got --pictures {pictures}.")
    model = keras_files.load(checkpoint)
    conversion.check_model(model)
    card = Card.read(checkpoint)
    if card is not None and taken is not None:
        raise InputError(
            f"{checkpoint} says itself what it takes; got --input {taken}: leave it out."
        )
    name = dataset or (card and card.dataset)
    if not name:
        raise InputError(f"{checkpoint} does not say its data set: give it with --dataset.")
    loaded = load_for(
        card, name, image_size=model.input_shape[1], data_dir=data_dir, manual_dir=manual_dir
    )
    if card is None:
        check_fits(model.input_shape[1:], model.output_shape[-1], loaded)
    images, labels = loaded.test_pictures(pictures, normalized=False)
    if card is None:
        card = _card(model, loaded, taken, images, labels)
    calibrating = None
    if float_layers == "int8":
        calibrating = card.preprocessing.normalize(loaded.training_pictures(calibration))
    with stages() as tell:
        report = conversion.convert(
            model,
            target,
            card,
            card.preprocessing.normalize(images),
            labels,
            fold=not no_fold,
            float_weights=float_weights,
            float_layers=float_layers,
            calibration=calibrating,
            pixels=pixels,
            runtime=runtime,
            allow_differences=allow_differences,
            tell=tell,
        )
    click.echo(report.describe())
    click.echo(f"{target}: {target.stat().st_size / 1e6:.2f} MB")


def _card(
    model: Any, dataset: ImageDataset, taken: str | None, images: np.ndarray, labels: np.ndarray
) -> Card:
    """Of a checkpoint that has none."""
    from larq_insta.data import inputs
    from larq_insta.version import installed_versions
    from larq_insta_runtime.card import Card

    if taken is None:
        preprocessing, how = inputs.find(model, dataset.preprocessing, images, labels)
        click.echo(how)
    else:
        preprocessing = inputs.given(model, dataset.preprocessing, taken)
    names, versions = dataset.class_names, installed_versions()
    return Card(model.name, {}, dataset.name, names, preprocessing, versions=versions)
