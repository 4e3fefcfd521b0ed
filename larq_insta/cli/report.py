"""`larq-insta summary` and `inspect`: what models cost, and what they do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from larq_insta.cli.options import (
    data_options,
    load_for,
    model_arguments,
    model_options,
    not_empty,
    trained,
)
from larq_insta_runtime.commands import command, path
from larq_insta_runtime.progress import stages


@command()
@click.argument("model")
@click.option("--image-size", type=int, default=224, show_default=True)
@click.option("--channels", type=int, default=3, show_default=True)
@click.option("--classes", type=int, default=1000, show_default=True)
@click.option(
    "--binary",
    type=click.Choice(["both", "activations", "neither"]),
    default="both",
    show_default=True,
    help="What convolutions have binary.",
)
@model_options
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON.")
@click.option("--plot", type=path(), help="A picture of the costs of each layer, *.png or *.svg.")
@click.option("--file-size", is_flag=True, help="Convert too, and tell the file's sizes.")
def summary(
    model: str,
    image_size: int,
    channels: int,
    classes: int,
    binary: str,
    as_json: bool,
    plot: Path | None,
    file_size: bool,
    **options: Any,
) -> None:
    """What MODEL costs, a model's name or a checkpoint.

    OPs = FLOPs + BOPs / 64 as published: FLOPs are multiply-accumulates of float
    convolutions and dense layers, and the multiplications of instance-aware parts (INSTA);
    BOPs are those of binary ones.
    """
    from larq_insta import models
    from larq_insta.checkpoints import keras_files
    from larq_insta.conversion import lowering
    from larq_insta.reports import profiling
    from larq_insta.rewriting import float_weights
    from larq_insta.zoo import pretrained

    file = pretrained.find(Path(model))
    if file.suffix in (".keras", ".h5"):
        network = keras_files.load(file)
    else:
        shape = {"input_shape": (image_size, image_size, channels), "num_classes": classes}
        arguments = {**shape, "binary": binary, **model_arguments(options)}
        network = models.build(model, arguments)
    costs = profiling.profile(network)
    sizes = {}
    if file_size:
        with stages() as tell:
            tell("converting")
            content = lowering.lower_as_trained(network)
        sizes = {kind: len(float_weights.store(content, kind)) for kind in float_weights.KINDS}
    if plot is not None:
        from larq_insta.reports import cost_plot

        cost_plot.save(costs, plot)
    if as_json:
        click.echo(json.dumps(costs.as_dict() | ({"file_sizes": sizes} if sizes else {}), indent=2))
        return
    click.echo(costs.table())
    click.echo(costs.describe())
    if sizes:
        click.echo(
            f"As a .tflite file {sizes['float32'] / profiling.MIB:.2f} MiB; with its float weights "
            f"in float16 {sizes['float16'] / profiling.MIB:.2f}, in int8 "
            f"{sizes['int8'] / profiling.MIB:.2f} MiB"
        )


@command()
@click.argument("checkpoint", type=path(), callback=trained)
@click.argument("output", metavar="FOLDER", type=path())
@click.option("--dataset", callback=not_empty, help="By default the one of the training.")
@data_options
@click.option("--pictures", type=click.IntRange(min=2), default=1000, show_default=True)
def inspect(
    checkpoint: Path,
    output: Path,
    dataset: str | None,
    data_dir: str | None,
    manual_dir: str | None,
    pictures: int,
) -> None:
    """How CHECKPOINT's thresholds follow test pictures, as a page in a new FOLDER.

    FOLDER/index.html needs no other file; the PNG files are its charts. For each layer it
    shows the thresholds of all pictures, the share of signs that are +1 with them and with
    static thresholds, the learned alpha, and the most extreme pictures.
    """
    from larq_insta.checkpoints.running import KerasModel
    from larq_insta.reports import inspection, inspection_page
    from larq_insta.training import runs

    runs.check_output(output)
    model = KerasModel(checkpoint)
    card = model.card
    loaded = load_for(card, dataset or card.dataset, data_dir=data_dir, manual_dir=manual_dir)
    images, labels = loaded.test_pictures(pictures, normalized=False)
    layers = inspection.inspect(model.network, card.preprocessing.normalize(images))
    names = [card.class_names[label] for label in labels]
    title = f"{model.network.name} on {loaded.name}"
    inspection_page.save(output, title, layers, images, names)
    click.echo(f"{len(layers)} layers, {len(images)} pictures: {output / 'index.html'}")
