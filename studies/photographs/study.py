"""Do instance-aware thresholds help the whole network on photographs? See protocol.md.

    python studies/photographs/study.py train FOLDER --dataset IMAGENETTE
    python studies/photographs/study.py report

IMAGENETTE has the folders `train` and `test`, each with a folder a class. Checkpoints and logs lie
in FOLDER, results in `results.jsonl` beside this script, a line each. Called again it goes on, and
trains nothing twice. Cells run side by side, each on one thread.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # what studies share

from cells import Effect, finished, program, provenance, run, trained

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
SEEDS = 3
SIZE = 96
BATCH_SIZE = 64
LEARNING_RATE = 2.5e-3
WEIGHT_DECAY = 1e-5
TEACHER_EPOCHS, EPOCHS = 24, (8, 8)

TEACHER = "teacher"
NARROW = {"filters": (16, 32, 64, 64, 128, 128, *[256] * 6, 512, 512)}
"""Half of MobileNetV1's widths."""

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "static": ("ReActNet18", {}),
    "INSTA-BNN": ("InstaResNet18", {}),
    "INSTA-BNN+": ("InstaResNet18", {"plus": True}),
    "MobileNetV1, static": ("ReActNetA", NARROW),
    "MobileNetV1, INSTA-BNN": ("InstaMobileNetV1", NARROW),
    "INSTA-BNN, batch": ("InstaResNet18", {"threshold": {"normalization": "batch"}}),
}
"""Models and their arguments, all else by default."""

COMPARISONS = (
    ("INSTA-BNN", "static"),
    ("INSTA-BNN+", "static"),
    ("INSTA-BNN+", "INSTA-BNN"),
    ("MobileNetV1, INSTA-BNN", "MobileNetV1, static"),
    ("INSTA-BNN, batch", "INSTA-BNN"),
)
PARTS = ("validation", "test")
FILES = {"float": "float32", "int8": "int8"}
"""Converted files, by how they compute what is not binary."""


class Cell(NamedTuple):
    """The teacher, or one variant with one seed."""

    variant: str
    seed: int = 0

    @property
    def name(self) -> str:
        return TEACHER if self.variant == TEACHER else f"{self.variant}, seed {self.seed}"

    def place(self, folder: Path) -> Path:
        return folder / (TEACHER if self.variant == TEACHER else f"{self.variant}/seed{self.seed}")

    def settings(self, folder: Path, dataset: str) -> dict[str, Any]:
        """Arguments of a `larq_insta.training.configuration.Configuration`."""
        shared = {
            "dataset": dataset,
            "image_size": SIZE,
            "batch_size": BATCH_SIZE,
            "learning_rate": (LEARNING_RATE,),
            "seed": self.seed,
        }
        if self.variant == TEACHER:
            how = {"steps": ("neither",), "epochs": (TEACHER_EPOCHS,)}
            return {**shared, **how, "model": "ReActNet18", "weight_decay": (WEIGHT_DECAY,)}
        model, arguments = VARIANTS[self.variant]
        return {
            **shared,
            "model": model,
            "model_arguments": arguments,
            "steps": ("activations", "both"),
            "epochs": EPOCHS,
            "weight_decay": (WEIGHT_DECAY, 0.0),
            "teacher": str(Cell(TEACHER).place(folder) / "best.keras"),
            "augmentation": "crops_and_mirror",
        }


def cells() -> list[Cell]:
    """The whole ResNet-18 first; seed after seed, so that what is finished forms pairs."""
    order = list(VARIANTS)
    return [
        Cell(variant, seed)
        for group in (order[:3], order[3:])
        for seed in range(SEEDS)
        for variant in group
    ]


def train(cell: Cell, folder: Path, dataset: str) -> dict[str, Any]:
    """Trains and scores one cell, and the files that it is converted to."""
    from larq_insta.training.configuration import Configuration

    place = cell.place(folder)
    row = trained(Configuration(**cell.settings(folder, dataset)), place)
    row["settings"] |= {"dataset": "imagenette"}
    if cell.variant != TEACHER:
        row["settings"] |= {"teacher": TEACHER}
        row |= file_accuracies(place / "best.keras", dataset)
    known = {"cell": cell.name, "variant": cell.variant, "seed": cell.seed}
    return {**known, **row, "curve": curve(place)}


def file_accuracies(checkpoint: Path, name: str) -> dict[str, float]:
    """Of the converted files on all test pictures."""
    from larq_insta import conversion, data, runtime
    from larq_insta.checkpoints import keras_files
    from larq_insta_runtime.card import Card

    card = Card.read(checkpoint)
    dataset = data.load(name, image_size=SIZE)
    images, labels = dataset.test_pictures(dataset.test.size, normalized=False)
    calibration = card.preprocessing.normalize(dataset.training_pictures(256))
    found = {}
    for kind, layers in FILES.items():
        target = checkpoint.with_name(f"{kind}.tflite")
        conversion.convert(
            keras_files.load(checkpoint),
            target,
            card,
            card.preprocessing.normalize(images[:256]),
            labels[:256],
            float_layers=layers,
            calibration=None if layers == "float32" else calibration,
        )
        answers = runtime.LiteModel(target).predict(images)
        found[f"{kind}_file_accuracy"] = float(np.mean(answers.argmax(-1) == labels))
        found[f"{kind}_file_bytes"] = target.stat().st_size
    return found


def curve(place: Path) -> list[float]:
    """Validation accuracies of all epochs, of both steps."""
    logs = [step / "log.csv" for step in (place / "step1", place)]
    return [
        float(value)
        for log in logs
        if log.exists()
        for value in np.atleast_1d(np.genfromtxt(log, delimiter=",", names=True)["val_accuracy"])
    ]


class Scores:
    """Accuracies of finished cells, in percent."""

    def __init__(self, rows: dict[str, dict[str, Any]]) -> None:
        self.rows = rows
        self.variants = [name for name in VARIANTS if self.seeds(name)]

    def seeds(self, *variants: str) -> list[int]:
        """Those that all of these variants have."""
        return [
            seed
            for seed in range(SEEDS)
            if all(Cell(name, seed).name in self.rows for name in variants)
        ]

    def of(self, variant: str, key: str, seeds: list[int] | None = None) -> np.ndarray:
        """Of each seed."""
        seeds = self.seeds(variant) if seeds is None else seeds
        return np.array([100 * self.rows[Cell(variant, seed).name][key] for seed in seeds])

    def effect(self, variant: str, against: str, part: str) -> Effect:
        key, seeds = f"{part}_accuracy", self.seeds(variant, against)
        return Effect.of(self.of(variant, key, seeds) - self.of(against, key, seeds))


def report(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    scores = Scores(rows)
    last = list(rows.values())[-1]
    versions = ", ".join(f"{name} {version}" for name, version in last["versions"].items())
    yield "# Instance-aware thresholds on photographs: results"
    yield ""
    yield provenance("photographs", rows, versions)
    yield ""
    right = 100 * rows[TEACHER]["test_accuracy"]
    yield f"The float teacher has {right:.2f} % of the test pictures right."
    if compared := [pair for pair in COMPARISONS if len(scores.seeds(*pair)) > 1]:
        yield from ("", "Paired differences of accuracy, in percentage points, with 95 % intervals")
        yield from ("over seeds:", "", *comparison_table(scores, compared))
    yield from ("", "All runs, validation and test accuracy in percent:", "")
    yield from run_table(scores)
    yield from ("", "![Validation accuracy over epochs](curves.png)", "")
    yield "Test accuracy of the converted files, of all test pictures, mean over seeds:"
    yield from ("", *file_table(scores))


def comparison_table(scores: Scores, pairs: list[tuple[str, str]]) -> Iterator[str]:
    yield "| variant | against | seeds | validation | verdict | test |"
    yield "|---|---|--:|---|---|---|"
    for pair in pairs:
        validation, test = (scores.effect(*pair, part) for part in PARTS)
        count = len(scores.seeds(*pair))
        yield f"| {' | '.join(pair)} | {count} | {validation} | {validation.verdict} | {test} |"


def run_table(scores: Scores) -> Iterator[str]:
    heads = " | ".join(f"seed {seed}" for seed in range(SEEDS))
    yield f"| variant | parameters | hours of one thread | {heads} |"
    yield "|---|--:|--:|" + "---|" * SEEDS
    for variant in scores.variants:
        seeds = scores.seeds(variant)
        pairs = zip(*(scores.of(variant, f"{part}_accuracy") for part in PARTS), strict=True)
        runs = dict(zip(seeds, (f"{one:.2f}, {other:.2f}" for one, other in pairs), strict=True))
        cells = " | ".join(runs.get(seed, "") for seed in range(SEEDS))
        hours = np.mean(scores.of(variant, "seconds")) / 100 / 3600
        parameters = scores.rows[Cell(variant, seeds[0]).name]["parameters"]
        yield f"| {variant} | {parameters:,} | {hours:.1f} | {cells} |"


def file_table(scores: Scores) -> Iterator[str]:
    yield "| variant | Keras | " + " | ".join(f"{kind} file | MB" for kind in FILES) + " |"
    yield "|---|--:|" + "--:|--:|" * len(FILES)
    for variant in scores.variants:
        keras = np.mean(scores.of(variant, "test_accuracy"))
        files = " | ".join(
            f"{np.mean(scores.of(variant, f'{kind}_file_accuracy')):.2f} | "
            f"{np.mean(scores.of(variant, f'{kind}_file_bytes')) / 1e8:.2f}"
            for kind in FILES
        )
        yield f"| {variant} | {keras:.2f} | {files} |"


def draw(rows: dict[str, dict[str, Any]], output: Path) -> None:
    plot(Scores(rows), output / "curves.png")


def plot(scores: Scores, target: Path) -> None:
    """Validation accuracy of each cell over the epochs of both steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    ax = figure.subplots()
    for number, variant in enumerate(scores.variants):
        seeds = scores.seeds(variant)
        curves = [scores.rows[Cell(variant, seed).name]["curve"] for seed in seeds]
        for seed, values in zip(seeds, curves, strict=True):
            epochs = np.arange(1, len(values) + 1)
            label = variant if seed == seeds[0] else None
            ax.plot(epochs, 100 * np.array(values), color=f"C{number}", alpha=0.7, label=label)
    ax.axvline(EPOCHS[0] + 0.5, color="gray", linewidth=1)
    ax.set_xlabel("epoch (right of the line weights are binary, too)")
    ax.set_ylabel("validation accuracy, %")
    ax.legend()
    figure.savefig(target, dpi=120)


main = program(__doc__, RESULTS, report, draw)


@main.command("train")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--dataset", required=True, help="Folder of Imagenette.")
@click.option("--jobs", default=2, show_default=True, help="Cells at a time.")
@click.option("--only", default="", help="Only cells with this in their names.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS)
def train_command(folder: Path, dataset: str, jobs: int, only: str, results: Path) -> None:
    """Train all cells that are not finished, the teacher first."""
    for group in ([Cell(TEACHER)], cells()):
        known = finished(results)
        todo = [cell for cell in group if only in cell.name and cell.name not in known]
        click.echo(f"{len(todo)} cells to do.")
        run(train, [(cell, folder, dataset) for cell in todo], jobs, results)


if __name__ == "__main__":
    main()
