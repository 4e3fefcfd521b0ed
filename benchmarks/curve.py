"""Draws the curve of a training, of one step or two, from the logs in its output folder.

python benchmarks/curve.py OUTPUT_FOLDER PICTURE.png
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = {"accuracy": ("training", "#0072b2"), "val_accuracy": ("validation", "#d55e00")}
"""Columns of a log, and how they are called and drawn."""


def logs(folder: Path) -> list[np.ndarray]:
    """Of each step, one row an epoch."""
    paths = [path for path in (folder / "step1/log.csv", folder / "log.csv") if path.is_file()]
    if not paths:
        raise click.ClickException(f"A training's folder must have a log.csv; {folder} has none.")
    return [np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True)) for path in paths]


def draw(steps: list[np.ndarray]) -> Figure:
    """Accuracies in percent over epochs; a line where binary weights join binary activations."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    for column, (label, colour) in PARTS.items():
        values = 100 * np.concatenate([step[column] for step in steps])
        epochs = np.arange(1, len(values) + 1)
        last = f"{label}, {values[-1]:.1f} % at last"
        axes.plot(epochs, values, color=colour, marker=".", label=last)
    if len(steps) > 1:
        axes.axvline(len(steps[0]) + 0.5, color="gray", linewidth=1)
        for where, words in ((-8, "activations binary"), (8, "weights, too")):
            axes.annotate(
                words,
                (len(steps[0]) + 0.5, 0.06),
                (where, 0),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="right" if where < 0 else "left",
                color="gray",
            )
    axes.set_xlabel("epoch")
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
def main(folder: Path, target: Path) -> None:
    draw(logs(folder)).savefig(target, dpi=150)


if __name__ == "__main__":
    main()
