"""`larq-insta train` and `recipes`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from larq_insta.cli.options import (
    data_options,
    file_options,
    model_arguments,
    model_options,
    not_empty,
    numbers,
    options,
)
from larq_insta.training.configuration import Configuration
from larq_insta.training.recipes import DEFAULT, RECIPES
from larq_insta_runtime.commands import command, path

recipe_options = options(
    click.option(
        "--recipe",
        type=click.Choice(list(RECIPES)),
        default=DEFAULT,
        show_default=True,
        help="Where all values come from that are not given; see `larq-insta recipes`.",
    ),
    click.option(
        "--steps",
        callback=lambda _context, _option, value: value and tuple(value.split(",")),
        help="What is binary in each step: activations,both or both or neither (float).",
    ),
    click.option(
        "--epochs", callback=numbers(int, "128,128"), help="Of every step, or one for each."
    ),
    click.option("--batch-size", type=int, help="Pictures an update, over all devices."),
    click.option(
        "--learning-rate",
        callback=numbers(float, "0.0025,0.001"),
        help="At first; falls linearly. For every step, or one for each.",
    ),
    click.option(
        "--weight-decay",
        callback=numbers(float, "1e-5,0"),
        help="On kernels of convolutions. For every step, or one for each.",
    ),
    click.option(
        "--trainable",
        callback=lambda _context, _option, value: value and tuple(value.split(",")),
        help="Weights that are trained: all, or channelwise (thresholds, PReLUs and batch "
        "normalisations). For every step, or one for each.",
    ),
    click.option("--validation-share", type=float, help="Of the training pictures, held out."),
)

teacher_options = options(
    click.option(
        "--teacher",
        callback=not_empty,
        help="A .keras or .h5 file, efficientnet_lite0, a name of tf.keras.applications, or none.",
    ),
    click.option(
        "--foreign-input",
        type=click.Choice(["normalized", "pixels"]),
        help="What a teacher's file takes that larq_insta has not written.",
    ),
    click.option("--temperature", type=float, help="Of the softmax that the student shall match."),
    click.option("--hard-label-share", type=float, help="Share of the labels in the loss."),
    click.option(
        "--attention-weight", type=float, help="Of Larq Zoo's attention matching in the loss."
    ),
)


@command()
@click.argument("model")
@click.option(
    "--dataset",
    callback=not_empty,
    help="digits, imagenet2012, fashion_mnist or another of TensorFlow Datasets, or a folder; "
    "./NAME for a folder with the name of a data set.",
)
@data_options
@click.option(
    "--cache",
    callback=not_empty,
    help="Keep the contents of files in `memory`, or in a folder by its name.",
)
@click.option("--image-size", type=int, help="Pixels a side that the model sees.")
@click.option("--channels", type=int, help="Of pictures in folders: 3, or 1 for grey.")
@click.option(
    "--augmentation",
    type=click.Choice(["none", "crops", "crops_and_mirror"]),
    help="What is drawn at random of training pictures; by default mirrored only if it is known "
    "that their mirror images are of the same class.",
)
@model_options
@file_options
@recipe_options
@teacher_options
@click.option(
    "--initial-weights",
    callback=not_empty,
    help="What to start from: a trained model in the package (imagenette, fashion_mnist), a .keras "
    "or .h5 file, or a published ReActNet's for PyTorch. For other classes the classifier is new.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--output", type=path(), required=True, help="A new folder, or one of the same training."
)
def train(model: str, output: Path, recipe: str, **options: Any) -> None:
    """Train MODEL on real pictures.

    MODEL is InstaResNet18, InstaMobileNetV1, InstaQuickNet, InstaRealToBinary, ReActNet18,
    ReActNetA, or a .keras or .h5 file of any Larq classifier. The data set is digits
    (embedded), a classification set of TensorFlow Datasets by its name, or a folder of
    class folders. Checkpoints, logs and the configuration go to the output folder; the
    best checkpoint is chosen by held-out training pictures. The same command goes on after
    an interruption. It uses all GPUs, and many machines if TF_CONFIG is set.
    """
    from larq_insta import training

    overrides: dict[str, Any] = {"model_arguments": model_arguments(options)}
    overrides |= {name: value for name, value in options.items() if value is not None}
    if overrides.get("teacher") == "none":
        overrides["teacher"] = None
    configuration = Configuration.from_recipe(recipe, model, overrides)
    result = training.train(configuration, output, click.echo)
    click.echo(
        f"Test accuracy {result.test_accuracy:.2%} (epoch {result.epoch}) after "
        f"{result.seconds:.0f} s: {result.checkpoint}"
    )


@command()
def recipes() -> None:
    """The table of recipes."""
    for name, recipe in RECIPES.items():
        click.echo(f"{name}: {recipe.describe()}")
