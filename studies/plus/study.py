"""Does INSTA-BNN+ learn worse than INSTA-BNN, which it contains? See protocol.md.

    python studies/plus/study.py train --imagenette IMAGENETTE --manual-dir FASHION_MNIST
    python studies/plus/study.py report

IMAGENETTE has the folders `train` and `test`, each with a folder a class; FASHION_MNIST is, for
example, /usr/share/datasets/fashion-mnist. Results lie in `results.jsonl` beside this script, a
line each. Called again it goes on, and trains nothing twice.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # what studies share

from cells import Effect, finished, prepare, program, provenance, run

RESULTS = Path(__file__).parent / "results.jsonl"
BATCH_SIZE = 64
LEARNING_RATE = 2.5e-3
SPARE = 2
"""Pixels a side that pictures are larger than what is drawn of them."""

BASE, PLUS = "INSTA-BNN", "INSTA-BNN+"
VARIANTS: dict[str, dict[str, Any]] = {
    "static": {},
    BASE: {},
    PLUS: {},
    "INSTA-BNN+, divided": {"branch_scaling": "fan_in"},
}
"""Arguments of a threshold with a branch."""

COMPARISONS = (
    (BASE, "static"),
    (PLUS, BASE),
    ("INSTA-BNN+, divided", BASE),
    ("INSTA-BNN+, divided", PLUS),
)


class Setting(NamedTuple):
    """Data and networks that are compared; `ratio` is that of channels to hidden units."""

    dataset: str
    size: int
    held_out: float
    filters: tuple[int, ...]
    ratio: int
    epochs: int
    seeds: int


SETTINGS = {
    "photographs": Setting("imagenette", 16, 0.25, (16, 32, 64), 32, 10, 6),
    "larger photographs": Setting("imagenette", 32, 0.25, (16, 32, 64), 32, 10, 6),
    "clothing": Setting("fashion_mnist", 14, 1 / 6, (16, 32, 64), 32, 5, 6),
}


class Cell(NamedTuple):
    """One variant in one setting with one seed."""

    setting: str
    variant: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.setting}, {self.variant}, seed {self.seed}"


def cells() -> list[Cell]:
    """All seeds of a variant in a row, as one process then compiles its network once."""
    return [
        Cell(name, variant, seed)
        for name, setting in SETTINGS.items()
        for variant in VARIANTS
        for seed in range(setting.seeds)
    ]


class Network:
    """A variant's network, which can begin anew.

    # Arguments
        channels: Of the pictures.
    """

    def __init__(self, setting: Setting, variant: str, channels: int) -> None:
        import tensorflow as tf

        self._setting, self._variant, self._channels = setting, variant, channels
        self.model = self._built(variant, seed=0)
        self._optimizer = tf.keras.optimizers.legacy.Adam()

        @tf.function(jit_compile=True)
        def update(images: tf.Tensor, labels: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
            self._optimizer.lr.assign(rate)
            with tf.GradientTape() as tape:
                answers = self.model(images, training=True)
                loss = tf.reduce_mean(
                    tf.keras.losses.sparse_categorical_crossentropy(labels, answers)
                )
            variables = self.model.trainable_variables
            gradients = tape.gradient(loss, variables)
            self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return loss

        self.update = update

    def _built(self, variant: str, seed: int) -> Any:
        import tensorflow as tf

        from larq_insta import models

        tf.keras.utils.set_random_seed(seed)
        size = self._setting.size
        arguments: dict[str, Any] = {
            "input_shape": (size, size, self._channels),
            "num_classes": 10,
            "stem": "small",
            "filters": self._setting.filters,
        }
        if variant == "static":
            return models.ReActNet18(**arguments)
        threshold = {"reduction_ratio": self._setting.ratio, **VARIANTS[variant]}
        plus = {} if variant == BASE else {"threshold": threshold}
        return models.InstaResNet18(**arguments, insta_blocks="all", **plus)

    def begin(self, seed: int) -> None:
        """With the weights that INSTA-BNN has with this seed, and a branch of this seed."""
        import tensorflow as tf

        initial = {x.name: x for x in self._built(BASE, seed).variables}
        if any(x.name not in initial for x in self.model.variables):
            initial = {x.name: x for x in self._built(self._variant, seed).variables} | initial
        for variable in self.model.variables:
            variable.assign(initial[variable.name])
        for variable in self._optimizer.variables():
            variable.assign(tf.zeros_like(variable))


@lru_cache(maxsize=1)
def prepared(setting: Setting, variant: str, where: tuple[tuple[str, Any], ...]) -> tuple[Any, ...]:
    """The network, and pictures and labels, to train and held out."""
    from larq_insta import data

    given = dict(where)
    imagenette = given.pop("imagenette")
    name = imagenette if setting.dataset == "imagenette" else setting.dataset
    size = setting.size + SPARE
    dataset = data.load(name, image_size=size, validation_share=setting.held_out, **given)
    parts = [
        [np.asarray(x) for x in next(iter(dataset.pictures(split, split.size)))]
        for split in (dataset.train, dataset.validation)
    ]
    channels = parts[0][0].shape[-1]
    mean, std = (f(parts[0][0].reshape(-1, channels), 0) for f in (np.mean, np.std))
    normalized = [(((x - mean) / std).astype(np.float32), y) for x, y in parts]
    return Network(setting, variant, channels), *normalized


def train(cell: Cell, where: Mapping[str, Any]) -> dict[str, Any]:
    """Trains and scores one cell."""
    from larq_insta.version import installed_versions

    setting, start = SETTINGS[cell.setting], time.monotonic()
    network, pictures, held_out = prepared(setting, cell.variant, tuple(where.items()))
    network.begin(cell.seed)
    losses = [
        float(network.update(images, labels, rate))
        for images, labels, rate in batches(*pictures, setting, cell.seed)
    ]
    images, labels = held_out
    half, size = SPARE // 2, setting.size
    centre = images[:, half : half + size, half : half + size]
    answers = network.model.predict(centre, batch_size=400, verbose=0)
    loss = -np.log(np.maximum(answers[np.arange(len(labels)), labels], 1e-9)).mean()
    last = len(pictures[0]) // BATCH_SIZE
    return {
        "cell": cell.name,
        **cell._asdict(),
        "validation_accuracy": float(np.mean(answers.argmax(-1) == labels)),
        "validation_loss": float(loss),
        "training_loss": float(np.mean(losses[-last:])),
        "seconds": time.monotonic() - start,
        "parameters": network.model.count_params(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": installed_versions(),
    }


def batches(
    images: np.ndarray, labels: np.ndarray, setting: Setting, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.float32]]:
    """Of all epochs, drawn crops half of which are mirrored, and learning rates."""
    rng, size = np.random.default_rng(seed), setting.size
    each = len(images) // BATCH_SIZE
    for epoch in range(setting.epochs):
        order = rng.permutation(len(images))[: each * BATCH_SIZE].reshape(each, BATCH_SIZE)
        for number, chosen in enumerate(order):
            places = rng.integers(0, SPARE + 1, (BATCH_SIZE, 2))
            steps = rng.choice((1, -1), BATCH_SIZE)
            crops = [
                images[i, y : y + size, x : x + size][:, ::step]
                for i, (y, x), step in zip(chosen, places, steps, strict=True)
            ]
            done = (epoch * each + number) / (setting.epochs * each)
            yield np.stack(crops), labels[chosen], np.float32(LEARNING_RATE * (1 - done))


def seeds(rows: Mapping[str, Any], setting: str, *variants: str) -> list[int]:
    """Those that all of these variants have."""
    return [
        seed
        for seed in range(SETTINGS[setting].seeds)
        if all(Cell(setting, variant, seed).name in rows for variant in variants)
    ]


def values(
    rows: Mapping[str, Any], setting: str, variant: str, key: str, of: list[int]
) -> np.ndarray:
    return np.array([rows[Cell(setting, variant, seed).name][key] for seed in of])


def report(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "# INSTA-BNN+ beside what it contains: results"
    yield ""
    yield provenance("plus", rows)
    for setting in SETTINGS:
        compared = [pair for pair in COMPARISONS if len(seeds(rows, setting, *pair)) > 1]
        if compared:
            yield from ("", f"## {setting.capitalize()}", "", *tables(rows, setting, compared))


def tables(rows: Mapping[str, Any], setting: str, compared: list[tuple[str, str]]) -> Iterator[str]:
    yield "Paired differences with 95 % intervals, accuracy in percentage points:"
    yield from ("", "| variant | against | seeds | validation | verdict | training loss |")
    yield "|---|---|--:|---|---|---|"
    for pair in compared:
        of = seeds(rows, setting, *pair)
        accuracy, loss = (
            Effect.of(scale * np.subtract(*(values(rows, setting, x, key, of) for x in pair)))
            for key, scale in (("validation_accuracy", 100), ("training_loss", 1))
        )
        change = f"{loss.mean:+.3f} ({loss.low:+.3f} to {loss.high:+.3f})"
        yield f"| {' | '.join(pair)} | {len(of)} | {accuracy} | {accuracy.verdict} | {change} |"
    yield from ("", "All runs, validation accuracy in percent and training loss, by seed:", "")
    yield "| variant | parameters | runs |"
    yield "|---|--:|---|"
    for variant in VARIANTS:
        if of := seeds(rows, setting, variant):
            known = [rows[Cell(setting, variant, seed).name] for seed in of]
            runs = [
                f"{100 * x['validation_accuracy']:.2f}, {x['training_loss']:.3f}" for x in known
            ]
            yield f"| {variant} | {known[0]['parameters']:,} | {'; '.join(runs)} |"


main = program(__doc__, RESULTS, report)


@main.command("train")
@click.option("--imagenette", required=True, help="Folder of Imagenette.")
@click.option("--jobs", default=2, show_default=True, help="Cells at a time.")
@click.option("--only", default="", help="Only cells with this in their names.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS)
@click.option("--data-dir")
@click.option("--manual-dir")
def train_command(imagenette: str, jobs: int, only: str, results: Path, **whereabouts: Any) -> None:
    """Train all cells that are not finished."""
    todo = [cell for cell in cells() if only in cell.name and cell.name not in finished(results)]
    click.echo(f"{len(todo)} cells to do.")
    if any(SETTINGS[cell.setting].dataset == "fashion_mnist" for cell in todo):
        prepare("fashion_mnist", **whereabouts)
    where = {"imagenette": imagenette, **whereabouts}
    run(train, [(cell, where) for cell in todo], jobs, results, per_process=None)


if __name__ == "__main__":
    main()
