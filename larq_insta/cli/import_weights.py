"""`larq-insta import-weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from larq_insta.cli.options import model_arguments, model_options
from larq_insta_runtime.commands import command, path


@command()
@click.argument("checkpoint", metavar="CHECKPOINT.pth.tar", type=path())
@click.argument("model")
@click.argument("target", metavar="OUT.keras", type=path())
@click.option("--image-size", type=int, default=224, show_default=True)
@click.option(
    "--binary",
    type=click.Choice(["both", "activations"]),
    default="both",
    show_default=True,
    help="`activations` for a checkpoint of the first training step.",
)
@model_options
def import_weights(
    checkpoint: Path, model: str, target: Path, image_size: int, binary: str, **options: Any
) -> None:
    """Turn a published ReActNet's CHECKPOINT for PyTorch into MODEL.

    MODEL is ReActNet18 or ReActNetA, or InstaResNet18 or InstaMobileNetV1 with alpha at 0,
    which compute the same until they are trained on. It computes what PyTorch does: signs
    are padded with 0, and pictures are turned by 180 degrees. Nothing in the file is run.
    """
    from larq_insta.checkpoints import importing

    arguments = model_arguments(options) | ({} if binary == "both" else {"binary": binary})
    click.echo(importing.import_reactnet(checkpoint, model, target, image_size, arguments))
