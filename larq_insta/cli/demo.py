"""`larq-insta demo`: the whole way from pictures to a converted file, telling what it does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from larq_insta.training.configuration import Configuration
from larq_insta_runtime.commands import command, path
from larq_insta_runtime.progress import stages

if TYPE_CHECKING:
    from larq_insta.data.dataset import ImageDataset

CONFIGURATION = Configuration(
    model="InstaResNet18",
    dataset="digits",
    model_arguments={"filters": [16, 32, 64]},
    epochs=(40,),
)


@command()
@click.option(
    "--output", type=path(), default="larq_insta_demo", show_default=True, help="A new folder."
)
def demo(output: Path) -> None:
    """Train on digits, convert, check and predict: the whole way in two minutes."""
    run(output, click.echo)


def run(output: Path, say: Callable[[str], None]) -> None:
    """Trains, converts, evaluates and predicts in a new folder.

    # Raises
        InputError: if the folder cannot be used.
    """
    from larq_insta import conversion, data, runtime, training
    from larq_insta.training import runs

    runs.check_output(output)
    digits = data.load("digits")
    say("1. Train a small InstaResNet18 on handwritten digits.")
    result = training.train(CONFIGURATION, output / "training", say)
    say(f"   Test accuracy {result.test_accuracy:.1%} on {digits.test.size} unseen digits.")

    say("2. Convert the best checkpoint with Larq Compute Engine and compare it with Keras.")
    keras, file = runtime.KerasModel(Path(result.checkpoint)), output / "digits.tflite"
    pictures, labels = digits.test_pictures(digits.test.size)
    with stages() as tell:
        report = conversion.convert(keras.network, file, keras.card, pictures, labels, tell=tell)
    for line in report.describe().splitlines():
        say(f"   {line}")

    say("3. Run the converted file on the same digits.")
    model = runtime.LiteModel(file)
    accuracy, _ = runtime.accuracy(model, digits.evaluation_batches(digits.test))
    say(f"   Test accuracy {accuracy:.1%}, {report.size / 1000:.0f} kB.")

    say("4. Predict five of them from PNG files.")
    for picture in _write_pictures(digits, output / "pictures", 5):
        image = runtime.read_picture(picture, model.card.preprocessing)
        say(f"   {picture}: {runtime.answer(model, image)}")

    say(
        f"Done. {output} holds digits.tflite for phones and boards, the pictures, and training/ "
        f"with checkpoints and logs (tensorboard --logdir {output / 'training'})."
    )


def _write_pictures(dataset: ImageDataset, folder: Path, count: int) -> list[Path]:
    import tensorflow as tf

    folder.mkdir()
    paths = []
    for i, (image, label) in enumerate(dataset.test.examples.take(count), start=1):
        paths.append(folder / f"{i}_is_a_{dataset.class_names[label]}.png")
        paths[-1].write_bytes(tf.io.encode_png(image).numpy())
    return paths
