"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from larq_insta_runtime.errors import InputError

if TYPE_CHECKING:
    from larq_insta.data.dataset import ImageDataset
    from larq_insta_runtime.card import Card

F = TypeVar("F", bound=Callable[..., Any])


def options(*given: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(given):
            function = option(function)
        return function

    return decorate


def numbers(kind: type[int] | type[float], example: str) -> Callable[..., Any]:
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


def not_empty(_context: click.Context, _option: click.Parameter, value: str | None) -> Any:
    # As scripts give it whose variable is not set, and which would be taken for none.
    if value == "":
        raise click.BadParameter("it must not be empty; got '': leave it out for the default.")
    return value


def trained(_context: click.Context, _argument: click.Parameter, value: Path) -> Path:
    """The checkpoint of the package's trained model, by its name."""
    from larq_insta.zoo import pretrained

    return pretrained.find(value)


def names(_context: click.Context, _option: click.Parameter, value: str | None) -> Any:
    return value.split(",") if value and value not in ("all", "all_but_largest_maps") else value


def settings(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> Any:
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


data_options = options(
    click.option(
        "--data-dir", callback=not_empty, help="Where TensorFlow Datasets keeps its files."
    ),
    click.option(
        "--manual-dir", callback=not_empty, help="Where files lie that it need not download."
    ),
)

model_options = options(
    click.option(
        "--filters",
        callback=numbers(int, "16,32,64,128"),
        help="Widths of stages (ResNet), sections (QuickNet) or layers (MobileNet), such as "
        "16,32,64,128.",
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
        callback=names,
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
        callback=settings,
        metavar="KEY=VALUE",
        help="An argument of InstaThreshold, such as normalization=batch; repeatable.",
    ),
    click.option(
        "--prelu",
        multiple=True,
        callback=settings,
        metavar="KEY=VALUE",
        help='An argument of InstaPReLU, such as instance_aware=["gamma"]; repeatable.',
    ),
)

file_options = options(
    click.option(
        "--instance-aware",
        is_flag=True,
        default=None,
        help="Make the model of a file an INSTA-BNN first; see larq_insta.instance_aware.",
    ),
    click.option(
        "--input",
        type=click.Choice(["normalized", "symmetric", "unit", "pixels"]),
        help="What the model of a file takes that has no card: pictures normalized as the data "
        "set's (default), from -1 to 1, from 0 to 1, or from 0 to 255.",
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
    "instance_aware",
    "input",
)


def model_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Takes those that were given out of `options`."""
    given = {name: options.pop(name, None) for name in _MODEL_ARGUMENTS}
    return {name: value for name, value in given.items() if value is not None}


def load_for(card: Card | None, dataset: str, **arguments: Any) -> ImageDataset:
    """A data set to test with, told what there is to tell of it.

    # Arguments
        card: Of the model, which says how it takes pictures and what it calls their classes.
        dataset, arguments: See `data.load`.

    # Raises
        InputError: if the model does not know its classes.
    """
    from larq_insta import data

    if card is not None:
        arguments["prepared"] = card.preprocessing
    loaded = data.load(dataset, validation_share=0.0, **arguments)
    for note in loaded.notes:
        click.echo(note, err=True)
    return loaded.labelled_as(card.class_names) if card is not None else loaded


def check_fits(shape: tuple[int | None, ...], classes: int, dataset: ImageDataset) -> None:
    """Whether a data set may be that of a model without a card."""
    same_shape = all(a in (None, b) for a, b in zip(shape, dataset.input_shape, strict=True))
    if not same_shape or classes != len(dataset.class_names):
        raise InputError(
            f"Model and data set must have the same picture shape and classes; the model has "
            f"{shape} and {classes}, {dataset.name} has {dataset.input_shape} and "
            f"{len(dataset.class_names)}: choose the data set with --dataset."
        )
