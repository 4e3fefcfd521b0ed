"""`larq-insta convert`."""

from __future__ import annotations

from pathlib import Path

import click

from larq_insta.cli.group import command
from larq_insta.cli.options import check_fits, data_options, load_for, not_empty, path, trained
from larq_insta.lite.errors import InputError


@command()
@click.argument("checkpoint", type=path(), callback=trained)
@click.argument("target", metavar="OUT.tflite", type=path())
@click.option(
    "--dataset",
    callback=not_empty,
    help="Pictures for the check; by default those of the training.",
)
@data_options
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
    pictures: int,
    no_fold: bool,
    float_weights: str,
    runtime: str,
    allow_differences: bool,
) -> None:
    """Convert CHECKPOINT to a .tflite file for phones and boards, and check it.

    The file is written only if every binary convolution stayed binary and it computes what
    Keras does, block by block and on real test pictures as a whole; OUT.tflite.json reports.
    """
    from larq_insta import conversion
    from larq_insta.checkpoints import keras_files
    from larq_insta.lite.card import Card
    from larq_insta.version import installed_versions

    if pictures < 1:
        raise InputError(f"The check needs at least 1 picture; got --pictures {pictures}.")
    model = keras_files.load(checkpoint)
    card = Card.read(checkpoint)
    name = dataset or (card and card.dataset)
    if not name:
        raise InputError(f"{checkpoint} does not say its data set: give it with --dataset.")
    loaded = load_for(
        card, name, image_size=model.input_shape[1], data_dir=data_dir, manual_dir=manual_dir
    )
    if card is None:
        check_fits(model.input_shape[1:], model.output_shape[-1], loaded)
        card = Card(
            model.name,
            {},
            name,
            loaded.class_names,
            loaded.preprocessing,
            versions=installed_versions(),
        )
    report = conversion.convert(
        model,
        target,
        card,
        *loaded.test_pictures(pictures),
        fold=not no_fold,
        float_weights=float_weights,
        runtime=runtime,
        allow_differences=allow_differences,
    )
    click.echo(report.describe())
    click.echo(f"{target}: {target.stat().st_size / 1e6:.2f} MB")
