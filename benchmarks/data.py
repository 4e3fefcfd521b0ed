"""Pictures a second that the training pipeline prepares, beside Larq Zoo's on the same files.

    python benchmarks/data.py FOLDER

FOLDER holds JPEG photographs, at any depth. Both pipelines read, crop, resize and mirror them
at 224 pixels in batches of 128; Larq Zoo's normalizes too, which ours leaves to the device.
They take turns; medians and the ratio of each turn are printed.
"""

from __future__ import annotations

import statistics
import time
from functools import partial
from pathlib import Path

import larq_insta  # noqa: F401  # isort: skip  (before TensorFlow: it chooses Keras 2)

import click
import tensorflow as tf
from larq_zoo.training.data import preprocess_image_bytes

from larq_insta.data.augmentation import photo_crops
from larq_insta.data.dataset import PHOTO_BUFFER, ImageDataset, Split
from larq_insta.data.preprocessing import decode, photo_preprocessing

BATCH = 128


def our_batches(files: tf.data.Dataset, count: int) -> tf.data.Dataset:
    pre = photo_preprocessing(224, resampling="bicubic")
    part = Split(files, count, PHOTO_BUFFER)
    dataset = ImageDataset(
        "files",
        ("a",),
        pre,
        photo_crops(pre),
        partial(decode, pre),
        part,
        part,
        part,
        tf.io.read_file,
    )
    return dataset.training_batches(BATCH, seed=0, epochs=range(1))


def larq_zoo_batches(files: tf.data.Dataset, count: int) -> tf.data.Dataset:
    """As Larq Zoo's experiments put it together."""

    def prepare(path: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return preprocess_image_bytes(tf.io.read_file(path), is_training=True), label

    pictures = files.shuffle(min(count, PHOTO_BUFFER))
    pictures = pictures.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    return pictures.batch(BATCH, drop_remainder=True).prefetch(1)


def rate(batches: tf.data.Dataset) -> float:
    """Pictures a second, after the first batch."""
    iterator = iter(batches)
    next(iterator)
    start = time.perf_counter()
    pictures = sum(len(labels) for _, labels in iterator)
    return pictures / (time.perf_counter() - start)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--pictures", default=1280, show_default=True, help="A turn; files are repeated.")
@click.option("--turns", default=5, show_default=True)
def main(folder: Path, pictures: int, turns: int) -> None:
    """Times both pipelines on the JPEG files in FOLDER."""
    paths = sorted(str(p) for p in folder.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg"})
    if not paths:
        raise click.UsageError(f"The folder must hold JPEG files; {folder} holds none.")
    files = tf.data.Dataset.from_tensor_slices(paths).map(lambda path: (path, tf.constant(0)))
    files = files.repeat().take(pictures)
    results: dict[str, list[float]] = {"larq_insta": [], "larq_zoo": []}
    for turn in range(turns + 1):
        rates = rate(our_batches(files, pictures)), rate(larq_zoo_batches(files, pictures))
        if turn:  # the first warms up
            for name, value in zip(results, rates, strict=True):
                results[name].append(value)
    for name, values in results.items():
        click.echo(
            f"{name}: {statistics.median(values):.0f} pictures a second "
            f"({min(values):.0f} to {max(values):.0f})"
        )
    ratios = [a / b for a, b in zip(*results.values(), strict=True)]
    click.echo(
        f"larq_insta / larq_zoo: {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}), {turns} turns of {pictures} pictures"
    )


if __name__ == "__main__":
    main()
