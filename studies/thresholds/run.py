"""Trains the cells of the study, one variant with one seed each, and keeps their results.

    python studies/thresholds/run.py FOLDER --manual-dir /usr/share/datasets/fashion-mnist

Checkpoints and logs lie in FOLDER, results in `results.jsonl` beside this script, a line each.
Called again it goes on, and trains nothing twice. Cells run side by side, each on one thread, so
that the same seed gives the same weights again on the same machine.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parents[1]))  # what studies share

from cells import finished, prepare, run, trained
from variants import EPOCHS, SEEDS, Cell, cells

RESULTS = Path(__file__).with_name("results.jsonl")


def train(cell: Cell, epochs: int, folder: Path, whereabouts: dict[str, Any]) -> dict[str, Any]:
    """Trains and scores one cell."""
    from larq_insta.training.configuration import Configuration

    configuration = Configuration(**cell.settings(epochs), **whereabouts)
    known = {"cell": cell.name, "topology": cell.topology, "variant": cell.variant}
    return {**known, "seed": cell.seed, **trained(configuration, folder / cell.name)}


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--jobs", default=2, show_default=True, help="Cells at a time.")
@click.option("--seeds", default=SEEDS, show_default=True)
@click.option("--epochs", default=EPOCHS, show_default=True)
@click.option("--only", default="", help="Only cells with this in their names.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS)
@click.option("--data-dir")
@click.option("--manual-dir")
def main(
    folder: Path,
    jobs: int,
    seeds: int,
    epochs: int,
    only: str,
    results: Path,
    data_dir: str | None,
    manual_dir: str | None,
) -> None:
    known = finished(results)
    todo = [cell for cell in cells(seeds) if only in cell.name and cell.name not in known]
    click.echo(f"{len(known)} cells are finished, {len(todo)} to do.")
    whereabouts = {"data_dir": data_dir, "manual_dir": manual_dir}
    prepare("fashion_mnist", **whereabouts)
    run(train, [(cell, epochs, folder, whereabouts) for cell in todo], jobs, results)


if __name__ == "__main__":
    main()
