"""Makes the package's trained model of a training's best checkpoint.

python studies/fashion_mnist/pack.py student/best.keras --data-dir tfds
"""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import larq_insta  # noqa: F401  # isort: skip  (before TensorFlow: it chooses Keras 2)

import click
import numpy as np
import tensorflow as tf

from larq_insta import conversion, data, runtime
from larq_insta.checkpoints import keras_files
from larq_insta.zoo import pretrained
from larq_insta_runtime import packaged
from larq_insta_runtime.card import Card
from larq_insta_runtime.writing import written_whole

LIMIT = 1_000_000
"""Bytes of both files: a package is not the place for more."""


def round_latent_weights(model: tf.keras.Model) -> None:
    """To float16, which deflates better; only their signs and mean magnitudes count."""
    for layer in model.layers:
        if getattr(layer, "kernel_quantizer", None) is not None:
            kernel, *others = layer.get_weights()
            layer.set_weights([kernel.astype(np.float16).astype(np.float32), *others])


def deflate(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with (
        written_whole(path) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
    ):
        for name, content in members.items():
            archive.writestr(name, content)


@click.command(help=__doc__)
@click.argument("best", type=click.Path(exists=True, path_type=Path))
@click.option("--data-dir")
@click.option("--manual-dir")
def main(best: Path, data_dir: str | None, manual_dir: str | None) -> None:
    card, model = Card.read(best), keras_files.load(best)
    if card is None or card.dataset not in packaged.MODELS:
        raise click.ClickException(f"{best} is no checkpoint of {', '.join(packaged.MODELS)}.")
    name = card.dataset
    shape = {"input_shape": model.input_shape[1:], "num_classes": model.output_shape[-1]}
    card = replace(card, model_arguments={**shape, "stem": "small", **card.model_arguments})
    round_latent_weights(model)
    checkpoint, converted = pretrained.checkpoint(name), packaged.converted(name)
    keras_files.save(model, checkpoint, card)
    deflate(checkpoint)
    loaded = data.load(name, data_dir=data_dir, manual_dir=manual_dir)
    report = conversion.convert(model, converted, card, *loaded.test_pictures(1000))
    click.echo(report.describe())
    for path in (checkpoint, converted):
        batches = loaded.evaluation_batches(loaded.test)
        accuracy, pictures = runtime.accuracy(runtime.open_model(path), batches)
        click.echo(f"{path.name}: {path.stat().st_size:,} bytes, {accuracy:.2%} of {pictures:,}")
    total = sum(path.stat().st_size for path in packaged.FOLDER.iterdir())
    if total > LIMIT:
        raise click.ClickException(f"{total:,} bytes are more than {LIMIT:,}.")


if __name__ == "__main__":
    main()
