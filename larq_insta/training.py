"""Trains a model on a data set and writes all that came of it to a folder."""

from __future__ import annotations

import inspect
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_insta import checkpoints, data, models
from larq_insta.card import Card
from larq_insta.dataset import ImageDataset
from larq_insta.errors import InputError, first_line
from larq_insta.files import check_writable, written_whole

BEST, LAST = "best.keras", "last.keras"


@dataclass(frozen=True)
class Configuration:
    """Everything that a training depends on.

    Adam with a learning rate that falls linearly from `learning_rate`, to zero one step
    after the last, as in ReActNet's recipe.
    """

    model: str
    dataset: str = "digits"
    model_arguments: dict[str, Any] = field(default_factory=dict)
    image_size: int | None = None
    validation_share: float = 0.1
    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 2.5e-3
    seed: int = 0
    data_dir: str | None = None
    manual_dir: str | None = None

    def check(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise InputError(f"`{name}` must be at least 1; got {getattr(self, name)}.")
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(f"`learning_rate` must be positive; got {self.learning_rate}.")
        if not 0 <= self.seed < 2**31:
            raise InputError(f"`seed` must be at least 0 and below 2**31; got {self.seed}.")


@dataclass(frozen=True)
class Result:
    """Test accuracy (0 to 1) of the best checkpoint, chosen by validation accuracy."""

    checkpoint: str
    test_accuracy: float
    validation_accuracy: float | None
    epoch: int
    seconds: float


def build(name: str, dataset: ImageDataset, arguments: dict[str, Any]) -> tf.keras.Model:
    """The model for a data set's pictures; small pictures get the small stem."""
    size = dataset.preprocessing.size
    settings = {
        "input_shape": dataset.input_shape,
        "num_classes": len(dataset.class_names),
        "stem": "small" if size <= 64 else "imagenet",
        **arguments,
    }
    return build_model(name, settings)


def build_model(name: str, arguments: dict[str, Any]) -> tf.keras.Model:
    """The model called `name`.

    # Raises
        InputError: if there is no such model or it does not take these arguments.
    """
    try:
        factory = models.get(name)
        known = inspect.signature(factory).parameters
        foreign = [argument for argument in arguments if argument not in known]
        if foreign:
            raise InputError(
                f"{name} takes the arguments {', '.join(known)}; got {', '.join(foreign)}."
            )
        return factory(**arguments)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(first_line(error)) from error


def train(
    configuration: Configuration, output: Path, say: Callable[[str], None] = lambda _: None
) -> Result:
    """Trains, and writes checkpoints, logs, configuration and result to `output`.

    # Arguments
        configuration: What to train and how.
        output: A new or empty folder.
        say: Called with each line that a waiting user would like to read.

    # Raises
        InputError: if the configuration cannot be carried out or `output` not be written.
    """
    configuration.check()
    models.get(configuration.model)
    check_output(output)
    tf.keras.utils.set_random_seed(configuration.seed)
    dataset = data.load(
        configuration.dataset,
        image_size=configuration.image_size,
        data_dir=configuration.data_dir,
        manual_dir=configuration.manual_dir,
        validation_share=configuration.validation_share,
    )
    model = build(configuration.model, dataset, configuration.model_arguments)
    batch_size = min(configuration.batch_size, dataset.train.size)
    steps = dataset.train.size // batch_size
    _compile(model, configuration, steps)
    card = make_card(configuration, dataset)
    _write_json(output / "config.json", asdict(configuration) | {"versions": card.versions})
    say(
        f"Training {configuration.model} ({model.count_params():,} parameters) on "
        f"{dataset.train.size:,} pictures of {dataset.name}, {configuration.epochs} epochs of "
        f"{steps} steps."
    )
    keeper = _Keeper(output, card)
    start = time.monotonic()
    with dataset.naming_unreadable():
        _fit(model, dataset, configuration, batch_size, steps, keeper)
    seconds = time.monotonic() - start
    best = output / (BEST if dataset.validation.size else LAST)
    with dataset.naming_unreadable():
        accuracy = _test_accuracy(checkpoints.load(best), dataset)
    result = Result(str(best), accuracy, keeper.best, keeper.epoch, round(seconds, 1))
    _write_json(output / "result.json", asdict(result) | {"checkpoint": best.name})
    return result


def make_card(configuration: Configuration, dataset: ImageDataset) -> Card:
    recipe = ("epochs", "batch_size", "learning_rate", "seed", "validation_share")
    return Card(
        model=configuration.model,
        model_arguments=configuration.model_arguments,
        dataset=configuration.dataset,
        class_names=dataset.class_names,
        preprocessing=dataset.preprocessing,
        training={name: getattr(configuration, name) for name in recipe},
    )


def _compile(model: tf.keras.Model, configuration: Configuration, steps: int) -> None:
    decay = tf.keras.optimizers.schedules.PolynomialDecay(
        configuration.learning_rate, steps * configuration.epochs, end_learning_rate=0.0
    )
    model.compile(
        tf.keras.optimizers.Adam(decay), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )


def _fit(
    model: tf.keras.Model,
    dataset: ImageDataset,
    configuration: Configuration,
    batch_size: int,
    steps: int,
    keeper: _Keeper,
) -> None:
    validation = dataset.evaluation_batches(dataset.validation) if dataset.validation.size else None
    model.fit(
        dataset.training_batches(batch_size, configuration.seed, configuration.epochs),
        epochs=configuration.epochs,
        steps_per_epoch=steps,
        validation_data=validation,
        callbacks=[
            tf.keras.callbacks.CSVLogger(keeper.folder / "log.csv"),
            tf.keras.callbacks.TensorBoard(keeper.folder / "tensorboard", write_graph=False),
            keeper,
        ],
        verbose="auto" if sys.stdout.isatty() else 2,
    )
    if keeper.diverged:
        raise InputError(
            f"The loss must stay finite; it did not in epoch {keeper.diverged}: lower the learning "
            f"rate (it was {configuration.learning_rate}). Checkpoints of the epochs before are "
            f"in {keeper.folder}."
        )


def _test_accuracy(model: tf.keras.Model, dataset: ImageDataset) -> float:
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    _, accuracy = model.evaluate(dataset.evaluation_batches(dataset.test), verbose=0)
    return accuracy


class _Keeper(tf.keras.callbacks.Callback):
    """Keeps the last checkpoint and, by validation accuracy, the best."""

    def __init__(self, folder: Path, card: Card) -> None:
        super().__init__()
        self.folder = folder
        self.card = card
        self.best: float | None = None
        self.epoch = 0
        self.diverged: int | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        if not all(math.isfinite(value) for value in logs.values()):
            self.diverged = epoch + 1
            self.model.stop_training = True
            return
        checkpoints.save(self.model, self.folder / LAST, self.card)
        accuracy = logs.get("val_accuracy")
        if accuracy is None:
            self.epoch = epoch + 1
        elif self.best is None or accuracy > self.best:
            self.best, self.epoch = accuracy, epoch + 1
            checkpoints.save(self.model, self.folder / BEST, self.card)


def check_output(output: Path) -> None:
    """Whether results can be written to a folder, which is not made yet.

    # Raises
        InputError: if not.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(
            f"The output folder must be new or empty; {output} is not: choose another."
        )
    check_writable(output / LAST)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with written_whole(path) as partial:
        partial.write_text(json.dumps(values, indent=2) + "\n")
