"""The command line, `larq-insta`. TensorFlow is imported by the commands that need it."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from larq_insta import __version__, files
from larq_insta.configuration import Configuration
from larq_insta.errors import InputError
from larq_insta.recipes import DEFAULT, RECIPES

if TYPE_CHECKING:
    from larq_insta.dataset import ImageDataset

F = TypeVar("F", bound=Callable[..., Any])


_MANY_PICTURES = 100


def _in_one_line(error: InputError) -> str:
    # Names of files need not be Unicode, but what is printed must.
    text = str(error).encode(errors="surrogateescape").decode(errors="replace")
    return " ".join(text.split())


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
            raise _Failure(_in_one_line(error)) from error
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            name = InputError(f"Names of files must not be so long; got {error.filename}.")
            raise _Failure(_in_one_line(name)) from error


_STOPS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


def _stop(number: int, _frame: FrameType | None) -> None:
    """Ends the process.

    An exception would be lost, or shown with its traceback, where other libraries call back.
    """
    files.remove_partial()
    for child in multiprocessing.active_children():
        child.kill()
    with suppress(RuntimeError, OSError):  # where a line was just being written
        sys.stdout.flush()
    line = (
        f"\nError: Stopped by {_STOPS[signal.Signals(number)]}: the same command begins again, "
        "and a training goes on after its last whole epoch.\n"
    )
    with suppress(OSError):
        os.write(2, line.encode())
    os._exit(128 + number)


class _Group(click.Group):
    command_class = _Command

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("standalone_mode", True):  # else the process is another's
            for number in _STOPS:
                if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and shells set it
                    signal.signal(number, _stop)
        return super().__call__(*args, **kwargs)


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


def _numbers(kind: type[int] | type[float], example: str) -> Callable[..., Any]:
    def parse(_context: click.Context, _option: click.Parameter, value: str | None) -> Any:
        if value is None:
            return None
        try:
            return tuple(kind(number) for number in value.split(","))
        except ValueError as error:
            raise click.BadParameter(
                f"give numbers with commas between, such as {example}; got {value!r}."
            ) from error

    return parse


def _not_empty(_context: click.Context, _option: click.Parameter, value: str | None) -> Any:
    # As scripts give it whose variable is not set, and which would be taken for none.
    if value == "":
        raise click.BadParameter("it must not be empty; got '': leave it out for the default.")
    return value


def _names(_context: click.Context, _option: click.Parameter, value: str | None) -> Any:
    return value.split(",") if value and value not in ("all", "all_but_largest_maps") else value


def _settings(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> Any:
    if not values:
        return None
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
    click.option(
        "--data-dir", callback=_not_empty, help="Where TensorFlow Datasets keeps its files."
    ),
    click.option(
        "--manual-dir", callback=_not_empty, help="Where files lie that it need not download."
    ),
)

_model_options = _options(
    click.option(
        "--filters",
        callback=_numbers(int, "16,32,64,128"),
        help="Widths of the stages (ResNet) or layers (MobileNet), such as 16,32,64,128.",
    ),
    click.option(
        "--stem",
        type=click.Choice(["imagenet", "small"]),
        help="First layers; by default small up to 64 pixels.",
    ),
    click.option(
        "--float-weights",
        type=click.Choice(["float32", "int8"]),
        help="Rounded to int8, as convert --float-weights int8 stores them, or not (default).",
    ),
    click.option("--plus", is_flag=True, default=None, help="INSTA-Th+ instead of INSTA-Th."),
    click.option(
        "--insta-blocks",
        callback=_names,
        help="Instance-aware blocks: all, all_but_largest_maps (default), or names or their "
        "beginnings, such as stage3,stage4_block1.",
    ),
    click.option(
        "--no-reuse",
        "reuse_statistics",
        flag_value=False,
        type=bool,
        default=None,
        help="INSTA-PReLUs compute statistics of their own.",
    ),
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


_MODEL_ARGUMENTS = (
    "filters",
    "stem",
    "float_weights",
    "plus",
    "insta_blocks",
    "reuse_statistics",
    "threshold",
    "prelu",
)


def _model_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Takes those that were given out of `options`."""
    given = {name: options.pop(name) for name in _MODEL_ARGUMENTS}
    return {name: value for name, value in given.items() if value is not None}


_recipe_options = _options(
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
        "--epochs", callback=_numbers(int, "128,128"), help="Of every step, or one for each."
    ),
    click.option("--batch-size", type=int, help="Pictures an update, over all devices."),
    click.option(
        "--learning-rate",
        callback=_numbers(float, "0.0025,0.001"),
        help="At first; falls linearly. For every step, or one for each.",
    ),
    click.option(
        "--weight-decay",
        callback=_numbers(float, "1e-5,0"),
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

_teacher_options = _options(
    click.option(
        "--teacher",
        callback=_not_empty,
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


@cli.command()
@click.argument("model")
@click.option(
    "--dataset",
    callback=_not_empty,
    help="digits, imagenet2012, fashion_mnist or another of TensorFlow Datasets, or a folder.",
)
@_data_options
@click.option(
    "--cache",
    callback=_not_empty,
    help="Keep the contents of files in `memory`, or in a folder by its name.",
)
@click.option("--image-size", type=int, help="Pixels a side that the model sees.")
@_model_options
@_recipe_options
@_teacher_options
@click.option(
    "--initial-weights",
    callback=_not_empty,
    help="A .keras or .h5 file, or a published ReActNet's for PyTorch, to start from.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--output", type=_path(), required=True, help="A new folder, or one of the same training."
)
def train(model: str, output: Path, recipe: str, **options: Any) -> None:
    """Train MODEL on real pictures.

    MODEL is InstaResNet18, InstaMobileNetV1, ReActNet18 or ReActNetA. The data set is
    digits (embedded), a classification set of TensorFlow Datasets by its name, or a
    folder of class folders. Checkpoints, logs and the configuration go to the output
    folder; the best checkpoint is chosen by held-out training pictures. The same command
    goes on after an interruption. It uses all GPUs, and many machines if TF_CONFIG is set.
    """
    from larq_insta import training

    overrides: dict[str, Any] = {"model_arguments": _model_arguments(options)}
    overrides |= {name: value for name, value in options.items() if value is not None}
    if overrides.get("teacher") == "none":
        overrides["teacher"] = None
    configuration = Configuration.from_recipe(recipe, model, overrides)
    result = training.train(configuration, output, click.echo)
    click.echo(
        f"Test accuracy {result.test_accuracy:.2%} (epoch {result.epoch}) after "
        f"{result.seconds:.0f} s: {result.checkpoint}"
    )


@cli.command()
def recipes() -> None:
    """The table of recipes."""
    for name, recipe in RECIPES.items():
        click.echo(f"{name}: {recipe.describe()}")


@cli.command()
@click.argument("checkpoint", metavar="CHECKPOINT.pth.tar", type=_path())
@click.argument("model")
@click.argument("target", metavar="OUT.keras", type=_path())
@click.option("--image-size", type=int, default=224, show_default=True)
@click.option(
    "--binary",
    type=click.Choice(["both", "activations"]),
    default="both",
    show_default=True,
    help="`activations` for a checkpoint of the first training step.",
)
@_model_options
def import_weights(
    checkpoint: Path, model: str, target: Path, image_size: int, binary: str, **options: Any
) -> None:
    """Turn a published ReActNet's CHECKPOINT for PyTorch into MODEL.

    MODEL is ReActNet18 or ReActNetA, or InstaResNet18 or InstaMobileNetV1 with alpha at 0,
    which compute the same until they are trained on. It computes what PyTorch does: signs
    are padded with 0, and pictures are turned by 180 degrees. Nothing in the file is run.
    """
    from larq_insta import importing

    arguments = _model_arguments(options) | ({} if binary == "both" else {"binary": binary})
    click.echo(importing.import_reactnet(checkpoint, model, target, image_size, arguments))


@cli.command()
@click.argument("checkpoint", type=_path())
@click.argument("target", metavar="OUT.tflite", type=_path())
@click.option(
    "--dataset",
    callback=_not_empty,
    help="Pictures for the check; by default those of the training.",
)
@_data_options
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


@cli.command()
@click.argument("file", type=_path())
@click.option("--dataset", callback=_not_empty, help="By default the one of the training.")
@_data_options
def evaluate(file: Path, dataset: str | None, data_dir: str | None, manual_dir: str | None) -> None:
    """Test accuracy of FILE, a Keras checkpoint or a converted .tflite file."""
    import time

    from larq_insta import data, runtime

    model = runtime.open_model(file, processes=os.cpu_count() or 1)
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
@click.option("--runs", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--ops", is_flag=True, help="The time of each operator, too.")
def benchmark(file: Path, runs: int, threads: int, ops: bool) -> None:
    """How long FILE, a .tflite file, takes for one picture on this machine."""
    import numpy as np

    from larq_insta import benchmarking, flatbuffer, lite_pool, runtime

    content = runtime.read_content(file)
    # In a process that may crash, as strangers' files can make it.
    lite_pool.LitePool(content, 1).try_out(benchmarking.random_inputs(content))
    stopwatch = benchmarking.Stopwatch(content, threads)
    times = np.array([stopwatch.seconds() for _ in range(runs)]) * 1e3
    low, high = np.quantile(times, (0.05, 0.95))
    click.echo(
        f"{file}: median {np.median(times):.2f} ms (90 % of {runs} runs: {low:.2f} to {high:.2f}), "
        f"threads: {threads}; {len(content) / 1e6:.2f} MB; operators other than products move "
        f"{flatbuffer.Graph(content).traffic / 1e6:.1f} MB."
    )
    if ops:
        groups = benchmarking.operator_times(content, num_threads=threads)
        click.echo(benchmarking.operator_table(groups))


@cli.command()
@click.argument("checkpoint", type=_path())
@click.argument("output", metavar="FOLDER", type=_path())
@click.option("--dataset", callback=_not_empty, help="By default the one of the training.")
@_data_options
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
    from larq_insta import data, inspection, inspection_page, runs, runtime

    runs.check_output(output)
    model = runtime.KerasModel(checkpoint)
    card = model.card
    loaded = data.load(
        dataset or card.dataset,
        image_size=card.preprocessing.size,
        data_dir=data_dir,
        manual_dir=manual_dir,
    )
    _check_fits(model.network.input_shape[1:], len(card.class_names), loaded)
    images, labels = loaded.test_pictures(pictures, normalized=False)
    layers = inspection.inspect(model.network, card.preprocessing.normalize(images).numpy())
    names = [card.class_names[label] for label in labels]
    title = f"{model.network.name} on {loaded.name}"
    inspection_page.save(output, title, layers, images, names)
    click.echo(f"{len(layers)} layers, {len(images)} pictures: {output / 'index.html'}")


@cli.command()
@click.argument("file", type=_path())
@click.argument("pictures", metavar="IMAGE...", nargs=-1, required=True, type=_path())
@click.option("--top", type=click.IntRange(min=1), default=3, show_default=True)
def predict(file: Path, pictures: tuple[Path, ...], top: int) -> None:
    """Class names and probabilities of each IMAGE by FILE.

    FILE is a .tflite file, a checkpoint, or fashion_mnist, the trained model in the package
    (for single pieces of clothing, light on black). A picture that cannot be read is told and
    left out, and the exit code then is 2.
    """
    from larq_insta import runtime

    model = runtime.open_model(file, processes=1)
    unread: list[Path] = []
    # Answers on a terminal are progress enough, and would tear the bar.
    hidden = sys.stdout.isatty() or len(pictures) < _MANY_PICTURES
    with click.progressbar(pictures, label="Predicting", file=sys.stderr, hidden=hidden) as bar:
        for path in bar:
            try:
                image = runtime.read_picture(path, model.card.preprocessing)
            except InputError as error:
                if len(pictures) == 1:
                    raise
                click.echo(_in_one_line(error), err=True)
                unread.append(path)
            else:
                name = click.format_filename(path)
                click.echo(f"{name}: {runtime.answer(model, image, top)}")
    if unread:
        raise InputError(
            f"All pictures must be readable; {len(unread)} of {len(pictures)} are not, the first "
            f"{unread[0]}: mend or leave them out."
        )


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
@click.option(
    "--binary",
    type=click.Choice(["both", "activations", "neither"]),
    default="both",
    show_default=True,
    help="What convolutions have binary.",
)
@_model_options
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON.")
@click.option("--plot", type=_path(), help="A picture of the costs of each layer, *.png or *.svg.")
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
    from larq_insta import checkpoints, float_weights, lowering, models, profiling

    if model.endswith((".keras", ".h5")):
        network = checkpoints.load(Path(model))
    else:
        shape = {"input_shape": (image_size, image_size, channels), "num_classes": classes}
        arguments = {**shape, "binary": binary, **_model_arguments(options)}
        network = models.build(model, arguments)
    costs = profiling.profile(network)
    sizes = {}
    if file_size:
        content = lowering.lower_as_trained(network)
        sizes = {kind: len(float_weights.store(content, kind)) for kind in float_weights.KINDS}
    if plot is not None:
        from larq_insta import cost_plot

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


@cli.command()
@click.option(
    "--output", type=_path(), default="larq_insta_demo", show_default=True, help="A new folder."
)
def demo(output: Path) -> None:
    """Train on digits, convert, check and predict: the whole way in two minutes."""
    from larq_insta import demo

    demo.run(output, click.echo)
