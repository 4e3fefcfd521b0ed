"""Makes a trained model of the package, NAME, of a training's best checkpoint.

    python studies/pack.py fashion_mnist student/best.keras --data-dir tfds
    python studies/pack.py imagenette student/best.keras --dataset ./imagenette --int8

Only signs and scales of binary weights count, so that their latent weights become one magnitude
with these signs, which deflates to a bit and a half each; the batch normalisation behind takes the
scales. Fine-tuning then starts with all latent weights equally far from zero.
"""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import larq_insta  # noqa: F401  # isort: skip  (before TensorFlow: it chooses Keras 2)

import click
import larq as lq
import numpy as np
import tensorflow as tf

from larq_insta import conversion, data, runtime
from larq_insta.checkpoints import keras_files, networks
from larq_insta.zoo import pretrained
from larq_insta_runtime import packaged
from larq_insta_runtime.card import Card
from larq_insta_runtime.writing import written_whole

LIMIT = 2_000_000
"""Bytes of a model's files together: a package is not the place for more."""


def keep_signs(model: tf.keras.Model) -> None:
    """Gives binary kernels one magnitude, and their scales to batch normalisations behind."""
    for layer in model.layers:
        quantizer = getattr(layer, "kernel_quantizer", None)
        if quantizer is None:
            continue
        (node,) = layer.outbound_nodes
        norm = node.outbound_layer
        if not isinstance(quantizer, lq.quantizers.MagnitudeAwareSign) or not isinstance(
            norm, tf.keras.layers.BatchNormalization
        ):
            raise click.ClickException(f"{layer.name} is no scaled binary layer with batch norm.")
        kernel, *others = layer.get_weights()
        scales = np.abs(kernel).mean(axis=(0, 1, 2), dtype=np.float64)
        # A power of two, so that products are exact, and the largest, so that no variance falls.
        magnitude = 2.0 ** np.ceil(np.log2(scales.max()))
        layer.set_weights([np.where(kernel >= 0, magnitude, -magnitude), *others])
        ratio = magnitude / scales
        norm.moving_mean.assign(norm.moving_mean.numpy() * ratio)
        variance = norm.moving_variance.numpy() + norm.epsilon
        norm.moving_variance.assign(variance * ratio**2 - norm.epsilon)


def deflate(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with (
        written_whole(path) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
    ):
        for name, content in members.items():
            archive.writestr(name, content)


def packed_card(card: Card, name: str, model: tf.keras.Model) -> Card:
    """With all that the model's function needs, and no place of the machine that trained it."""
    shape = {"input_shape": model.input_shape[1:], "num_classes": model.output_shape[-1]}
    stem = {"stem": networks.default_stem(model.input_shape[1:])}
    return replace(card, dataset=name, model_arguments={**shape, **stem, **card.model_arguments})


@click.command(help=__doc__)
@click.argument("name", type=click.Choice(list(packaged.MODELS)))
@click.argument("best", type=click.Path(exists=True, path_type=Path))
@click.option("--dataset", help="By default NAME.")
@click.option("--data-dir")
@click.option("--manual-dir")
@click.option("--int8", is_flag=True, help="A file with int8 layers that takes pixels.")
def main(name: str, best: Path, dataset: str | None, int8: bool, **whereabouts: str | None) -> None:
    trained, model = Card.read(best), keras_files.load(best)
    if trained is None or trained.model != packaged.MODELS[name]:
        raise click.ClickException(f"{best} is no checkpoint of {packaged.MODELS[name]}.")
    card = packed_card(trained, name, model)
    keep_signs(model)
    checkpoint, converted = pretrained.checkpoint(name), packaged.converted(name)
    keras_files.save(model, checkpoint, card)
    deflate(checkpoint)
    loaded = data.load(dataset or name, image_size=model.input_shape[1], **whereabouts)
    images, labels = loaded.test_pictures(1000, normalized=False)
    how: dict[str, Any] = {}
    if int8:
        calibration = card.preprocessing.normalize(loaded.training_pictures(256))
        how = {"float_layers": "int8", "calibration": calibration, "pixels": True}
    pictures = card.preprocessing.normalize(images)
    report = conversion.convert(model, converted, card, pictures, labels, **how)
    click.echo(report.describe())
    for path in (best, checkpoint, converted):
        batches = loaded.evaluation_batches(loaded.test)
        accuracy, count = runtime.accuracy(runtime.open_model(path), batches)
        click.echo(f"{path.name}: {path.stat().st_size:,} bytes, {accuracy:.2%} of {count:,}")
    total = sum(path.stat().st_size for path in (checkpoint, converted))
    if total > LIMIT:
        raise click.ClickException(f"{total:,} bytes are more than {LIMIT:,}.")


if __name__ == "__main__":
    main()
