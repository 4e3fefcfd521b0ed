"""The command line, `larq-insta`. TensorFlow is imported by the commands that need it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from larq_insta import __version__
from larq_insta.errors import InputError

if TYPE_CHECKING:
    from larq_insta.dataset import ImageDataset

F = TypeVar("F", bound=Callable[..., Any])


class _Failure(click.ClickException):
    exit_code = 2


class _Command(click.Command):
    """Shows an `InputError` as one line and ends with exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        # TensorFlow logs even its search for a GPU as errors; real ones are raised.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise _Failure(" ".join(str(error).split())) from error


class _Group(click.Group):
    command_class = _Command


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def cli() -> None:
    """Binary networks with instance-aware thresholds: train, convert, run."""


def _options(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _path(**kwargs: Any) -> click.Path:
    return click.Path(path_type=Path, **kwargs)


def _filters(_context: click.Context, _option: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    try:
        return [int(width) for width in value.split(",")]
    except ValueError as error:
        raise click.BadParameter(
            f"widths are whole numbers with commas between, such as 16,32,64,128; got {value!r}."
        ) from error


def _settings(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> Any:
    settings = {}
    for value in values:
        key, separator, content = value.partition("=")
        if not separator:
            raise click.BadParameter(
                f"settings are KEY=VALUE, such as normalization=batch; got {value!r}."
            )
        try:
            settings[key] = json.loads(content)
        except json.JSONDecodeError:
            settings[key] = content
    return settings


_data_options = _options(
    click.option("--data-dir", help="Where TensorFlow Datasets keeps its files."),
    click.option("--manual-dir", help="Where files lie that it need not download."),
)

_model_options = _options(
    click.option(
        "--filters",
        callback=_filters,
        help="Widths of the stages (ResNet) or layers (MobileNet), such as 16,32,64,128.",
    ),
    click.option(
        "--stem",
        type=click.Choice(["imagenet", "small"]),
        help="First layers; by default small up to 64 pixels.",
    ),
    click.option("--plus", is_flag=True, help="INSTA-Th+ instead of INSTA-Th."),
    click.option(
        "--threshold",
        multiple=True,
        callback=_settings,
        metavar="KEY=VALUE",
        help="An argument of InstaThreshold, such as normalization=batch; repeatable.",
    ),
    click.option(
        "--prelu",
        multiple=True,
        callback=_settings,
        metavar="KEY=VALUE",
        help='An argument of InstaPReLU, such as instance_aware=["gamma"]; repeatable.',
    ),
)


def _model_arguments(options: dict[str, Any]) -> dict[str, Any]:
    names = ("filters", "stem", "plus", "threshold", "prelu")
    return {name: options.pop(name) for name in names if options[name] or options.pop(name)}


@cli.command()
@click.argument("model")
@click.option(
    "--dataset",
    default="digits",
    show_default=True,
    help="Also fashion_mnist, cifar10 or another of TensorFlow Datasets, or a folder.",
)
@_data_options
@click.option("--image-size", type=int, help="Pixels a side that the model sees.")
@_model_options
@click.option("--epochs", type=int, default=60, show_default=True)
@click.option("--batch-size", type=int, default=64, show_default=True)
@click.option("--learning-rate", type=float, default=2.5e-3, show_default=True)
@click.option("--validation-share", type=float, default=0.1, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--output", type=_path(), required=True, help="A new or empty folder.")
def train(output: Path, **options: Any) -> None:
    """Train MODEL on real pictures.

    MODEL is InstaResNet18, InstaMobileNetV1, ReActNet18 or ReActNetA. The data set is
    digits (embedded), a classification set of TensorFlow Datasets by its name, or a
    folder of class folders. Checkpoints, logs and the configuration go to the output
    folder; the best checkpoint is chosen by held-out training pictures.
    """
    from larq_insta import training

    arguments = _model_arguments(options)
    configuration = training.Configuration(model_arguments=arguments, **options)
    result = training.train(configuration, output, click.echo)
    click.echo(
        f"Test accuracy {result.test_accuracy:.2%} (epoch {result.epoch}) after "
        f"{result.seconds:.0f} s: {result.checkpoint}"
    )


@cli.command()
@click.argument("checkpoint", type=_path())
@click.argument("target", metavar="OUT.tflite", type=_path())
@click.option("--dataset", help="Pictures for the check; by default those of the training.")
@_data_options
@click.option("--pictures", type=int, default=256, show_default=True, help="For the check.")
def convert(
    checkpoint: Path,
    target: Path,
    dataset: str | None,
    data_dir: str | None,
    manual_dir: str | None,
    pictures: int,
) -> None:
    """Convert CHECKPOINT to a .tflite file for phones and boards, and check it.

    The file is written only if every binary convolution stayed binary and it agrees with
    Keras on real test pictures.
    """
    from larq_insta import checkpoints, conversion, data
    from larq_insta.card import Card

    if pictures < 1:
        raise InputError(f"The check needs at least 1 picture; got --pictures {pictures}.")
    model = checkpoints.load(checkpoint)
    card = Card.read(checkpoint)
    name = dataset or (card and card.dataset)
    if not name:
        raise InputError(f"{checkpoint} does not say its data set: give it with --dataset.")
    size = card.preprocessing.size if card else model.input_shape[1]
    loaded = data.load(name, image_size=size, data_dir=data_dir, manual_dir=manual_dir)
    if card is None:
        card = Card(model.name, {}, name, loaded.class_names, loaded.preprocessing)
    _check_fits(model.input_shape[1:], model.output_shape[-1], loaded)
    report = conversion.convert(model, target, card, loaded.test_pictures(pictures))
    click.echo(report.describe())
    click.echo(f"{target}: {report.size / 1e6:.2f} MB")


@cli.command()
@click.argument("file", type=_path())
@click.option("--dataset", help="By default the one of the training.")
@_data_options
def evaluate(file: Path, dataset: str | None, data_dir: str | None, manual_dir: str | None) -> None:
    """Test accuracy of FILE, a Keras checkpoint or a converted .tflite file."""
    import time

    from larq_insta import data, runtime

    model = runtime.open_model(file)
    card = model.card
    loaded = data.load(
        dataset or card.dataset,
        image_size=card.preprocessing.size,
        data_dir=data_dir,
        manual_dir=manual_dir,
    )
    size, channels = card.preprocessing.size, card.preprocessing.channels
    _check_fits((size, size, channels), len(card.class_names), loaded)
    start = time.monotonic()
    with loaded.naming_unreadable():
        accuracy, pictures = runtime.accuracy(model, loaded.evaluation_batches(loaded.test))
    click.echo(
        f"Test accuracy {accuracy:.2%} on {pictures:,} pictures of {loaded.name}, "
        f"{time.monotonic() - start:.0f} s: {file}"
    )


@cli.command()
@click.argument("file", type=_path())
@click.argument("pictures", metavar="IMAGE...", nargs=-1, required=True, type=_path())
@click.option("--top", type=click.IntRange(min=1), default=3, show_default=True)
def predict(file: Path, pictures: tuple[Path, ...], top: int) -> None:
    """Class names and probabilities of each IMAGE by FILE, a .tflite file or a checkpoint."""
    from larq_insta import runtime

    model = runtime.open_model(file)
    images = [runtime.read_picture(path, model.card.preprocessing) for path in pictures]
    for path, image in zip(pictures, images, strict=True):
        click.echo(f"{path}: {runtime.answer(model, image, top)}")


def _check_fits(shape: tuple[int | None, ...], classes: int, dataset: ImageDataset) -> None:
    same_shape = all(a in (None, b) for a, b in zip(shape, dataset.input_shape, strict=True))
    if not same_shape or classes != len(dataset.class_names):
        raise InputError(
            f"Model and data set must have the same picture shape and classes; the model has "
            f"{shape} and {classes}, {dataset.name} has {dataset.input_shape} and "
            f"{len(dataset.class_names)}: choose the data set with --dataset."
        )


@cli.command()
@click.argument("model")
@click.option("--image-size", type=int, default=224, show_default=True)
@click.option("--channels", type=int, default=3, show_default=True)
@click.option("--classes", type=int, default=1000, show_default=True)
@_model_options
def summary(model: str, image_size: int, channels: int, classes: int, **options: Any) -> None:
    """Larq's table of MODEL, a model's name or a checkpoint."""
    import larq as lq

    from larq_insta import checkpoints, training

    if model.endswith((".keras", ".h5")):
        network = checkpoints.load(Path(model))
    else:
        shape = {"input_shape": (image_size, image_size, channels), "num_classes": classes}
        network = training.build_model(model, {**shape, **_model_arguments(options)})
    lq.models.summary(network)


@cli.command()
@click.option(
    "--output", type=_path(), default="larq_insta_demo", show_default=True, help="A new folder."
)
def demo(output: Path) -> None:
    """Train on digits, convert, check and predict: the whole way in two minutes."""
    from larq_insta import demo

    demo.run(output, click.echo)
