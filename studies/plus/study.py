"""Does INSTA-BNN+'s branch learn better with divided sums? See protocol.md.

    python studies/plus/study.py train FOLDER --imagenette IMAGENETTE --manual-dir FASHION_MNIST
    python studies/plus/study.py report

IMAGENETTE has the folders `train` and `test`, each with a folder a class; FASHION_MNIST is, for
example, /usr/share/datasets/fashion-mnist. Checkpoints and logs lie in FOLDER, results in
`results.jsonl` beside this script, a line each. Called again it goes on, and trains nothing twice.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # what studies share

from cells import Effect, finished, prepare, program, provenance, run, trained

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
BASE, UNDIVIDED, PLUS = "INSTA-BNN", "INSTA-BNN+, undivided", "INSTA-BNN+"
VARIANTS = (BASE, UNDIVIDED, PLUS)
COMPARISONS = ((UNDIVIDED, BASE), (PLUS, BASE), (PLUS, UNDIVIDED))


class Setting(NamedTuple):
    """Data and networks that are compared; `ratio` is that of channels to hidden units."""

    dataset: str
    image_size: int
    filters: tuple[int, ...]
    ratio: int
    epochs: int
    learning_rate: float
    seeds: int


SETTINGS = {
    "photographs": Setting("imagenette", 32, (16, 32, 64), 32, 20, 2.5e-3, 3),
    "clothing": Setting("fashion_mnist", 28, (8, 16, 32), 4, 3, 5e-3, 4),
}


class Cell(NamedTuple):
    """One variant in one setting with one seed."""

    setting: str
    variant: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.setting}, {self.variant}, seed {self.seed}"

    def settings(self) -> dict[str, Any]:
        """Arguments of a `larq_insta.training.configuration.Configuration`."""
        setting = SETTINGS[self.setting]
        branch = {"branch_scaling": "fan_in" if self.variant == PLUS else None}
        plus = {"threshold": {"reduction_ratio": setting.ratio, **branch}}
        small = {"stem": "small", "filters": setting.filters, "insta_blocks": "all"}
        return {
            "model": "InstaResNet18",
            "dataset": setting.dataset,
            "image_size": setting.image_size,
            "model_arguments": small | ({} if self.variant == BASE else plus),
            "epochs": (setting.epochs,),
            "learning_rate": (setting.learning_rate,),
            "batch_size": 64,
            "seed": self.seed,
        }


def cells() -> list[Cell]:
    """Seed after seed, so that whatever is finished can be compared in pairs."""
    return [
        Cell(name, variant, seed)
        for name, setting in SETTINGS.items()
        for seed in range(setting.seeds)
        for variant in VARIANTS
    ]


def train(
    cell: Cell, folder: Path, imagenette: str, whereabouts: dict[str, str | None]
) -> dict[str, Any]:
    """Trains and scores one cell."""
    from larq_insta.training.configuration import Configuration

    settings = cell.settings()
    if settings["dataset"] == "imagenette":
        configuration = Configuration(**{**settings, "dataset": imagenette})
    else:
        configuration = Configuration(**settings, **whereabouts)
    place = folder / cell.setting / cell.variant.replace(", ", "_") / f"seed{cell.seed}"
    row = trained(configuration, place)
    row["settings"] |= {"dataset": settings["dataset"]}
    log = np.genfromtxt(place / "log.csv", delimiter=",", names=True)
    last = {f"training_{name}": float(log[name][-1]) for name in ("loss", "accuracy")}
    return {"cell": cell.name, **cell._asdict(), **row, **last}


def values(rows: dict[str, dict[str, Any]], setting: str, variant: str, key: str) -> np.ndarray:
    """Of each seed."""
    seeds = range(SETTINGS[setting].seeds)
    return np.array([rows[Cell(setting, variant, seed).name][key] for seed in seeds])


def report(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "# INSTA-BNN+ with sums divided by their numbers of inputs: results"
    yield ""
    yield provenance("plus", rows)
    for setting in SETTINGS:
        yield from ("", f"## {setting.capitalize()}", "", *tables(rows, setting))


def tables(rows: dict[str, dict[str, Any]], setting: str) -> Iterator[str]:
    yield "Paired differences, accuracy in percentage points, with 95 % intervals:"
    yield from ("", "| variant | against | validation | verdict | test | training loss |")
    yield "|---|---|---|---|---|---|"
    for pair in COMPARISONS:
        validation, test, loss = (
            Effect.of(scale * np.subtract(*(values(rows, setting, name, key) for name in pair)))
            for key, scale in (
                ("validation_accuracy", 100),
                ("test_accuracy", 100),
                ("training_loss", 1),
            )
        )
        verdict = validation.verdict
        change = f"{loss.mean:+.3f} ({loss.low:+.3f} to {loss.high:+.3f})"
        yield f"| {' | '.join(pair)} | {validation} | {verdict} | {test} | {change} |"
    seeds = range(SETTINGS[setting].seeds)
    yield from ("", "All runs, validation and test accuracy in percent, training loss:", "")
    yield "| variant | parameters | " + " | ".join(f"seed {seed}" for seed in seeds) + " |"
    yield "|---|--:|" + "---|" * len(seeds)
    for variant in VARIANTS:
        of_all = [rows[Cell(setting, variant, seed).name] for seed in seeds]
        runs = " | ".join(
            f"{row['validation_accuracy']:.2%}, {row['test_accuracy']:.2%}, "
            f"{row['training_loss']:.3f}".replace("%", "")
            for row in of_all
        )
        yield f"| {variant} | {of_all[0]['parameters']:,} | {runs} |"


main = program(__doc__, RESULTS, report)


@main.command("train")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--imagenette", required=True, help="Folder of Imagenette.")
@click.option("--jobs", default=2, show_default=True, help="Cells at a time.")
@click.option("--only", default="", help="Only cells with this in their names.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS)
@click.option("--data-dir")
@click.option("--manual-dir")
def train_command(
    folder: Path, imagenette: str, jobs: int, only: str, results: Path, **whereabouts: Any
) -> None:
    """Train all cells that are not finished."""
    todo = [cell for cell in cells() if only in cell.name and cell.name not in finished(results)]
    click.echo(f"{len(todo)} cells to do.")
    prepare("fashion_mnist", **whereabouts)
    run(train, [(cell, folder, imagenette, whereabouts) for cell in todo], jobs, results)


if __name__ == "__main__":
    main()
