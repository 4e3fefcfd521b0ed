"""What all studies do with a cell: train it on one thread, score it, keep its result."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy import stats


def finished(results: Path) -> dict[str, dict[str, Any]]:
    """What is known of each cell, by its name."""
    if not results.exists():
        return {}
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    return {row["cell"]: row for row in rows}


def keep(results: Path, row: dict[str, Any]) -> None:
    from larq_insta_runtime.writing import written_whole

    rows = {**finished(results), row["cell"]: row}
    with written_whole(results) as partial:
        partial.write_text("".join(json.dumps(row) + "\n" for row in rows.values()))


def use_one_thread() -> None:
    """So that the same seed gives the same weights; before TensorFlow does anything."""
    import larq_insta  # noqa: F401  # isort: skip  (before TensorFlow: it chooses Keras 2)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def prepare(dataset: str, **whereabouts: str | None) -> None:
    """Makes a data set of TensorFlow Datasets first, which two cells must not do at once."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(_load, dataset, whereabouts).result()


def _load(dataset: str, whereabouts: dict[str, str | None]) -> None:
    from larq_insta import data

    data.load(dataset, **whereabouts)


def trained(configuration: Any, place: Path) -> dict[str, Any]:
    """Trains a cell in a folder, where its best checkpoint is `best.keras`.

    # Returns
        What a result says of every training, however often it was stopped.
    """
    from larq_insta import data, training
    from larq_insta.checkpoints import keras_files
    from larq_insta.version import installed_versions

    place.parent.mkdir(parents=True, exist_ok=True)
    whereabouts = {name: getattr(configuration, name) for name in ("data_dir", "manual_dir")}
    with place.with_suffix(".log").open("a") as log, contextlib.redirect_stdout(log):
        result = training.train(configuration, place, lambda line: print(line, file=log))
        model = keras_files.load(Path(result.checkpoint))
        size = model.input_shape[1]
        dataset = data.load(configuration.dataset, image_size=size, **whereabouts)
        model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        scores = {}
        for name, split in (("validation", dataset.validation), ("test", dataset.test)):
            loss, accuracy = model.evaluate(dataset.evaluation_batches(split), verbose=0)
            scores |= {f"{name}_accuracy": accuracy, f"{name}_loss": loss}
    return {
        **scores,
        "epoch": result.epoch,
        "seconds": result.seconds,
        "parameters": model.count_params(),
        "date": time.strftime("%Y-%m-%d"),
        "settings": configuration.identity(),
        "versions": installed_versions(),
    }


def run(
    train: Callable[..., dict[str, Any]],
    todo: Iterable[tuple],
    jobs: int,
    results: Path,
    per_process: int | None = 1,
) -> None:
    """Trains cells side by side, and keeps each result as soon as it is there.

    A cell that fails keeps none of the others from being trained; its error is raised at the end.

    # Arguments
        train: Makes a cell's result; a function of a module, as each cell has a process.
        todo: Arguments of `train`, for each cell.
        per_process: How many cells a process trains at most. One for cells that set seeds once
            and draw in any order.
    """
    with ProcessPoolExecutor(jobs, get_context("spawn"), max_tasks_per_child=per_process) as pool:
        futures = [pool.submit(_at_commit, train, *arguments) for arguments in todo]
        for future in as_completed(futures):
            if future.exception() is None:
                row = future.result()
                keep(results, row)
                accuracy, minutes = row["validation_accuracy"], row["seconds"] / 60
                click.echo(f"{row['cell']}: validation {accuracy:.2%}, {minutes:.0f} min")
    for future in futures:
        future.result()


def _at_commit(train: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    at = commit()
    use_one_thread()
    return {**train(*arguments), "commit": at}


def commit() -> str:
    """The checkout's commit, with a plus sign if the package differs from it."""
    changed = _git("status", "--porcelain", "larq_insta", "zoo")
    return _git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def _git(*arguments: str) -> str:
    git = ["git", "-C", str(Path(__file__).parents[1]), *arguments]
    answer = subprocess.run(git, check=True, capture_output=True, text=True)  # noqa: S603
    return answer.stdout.strip()


def provenance(study: str, rows: dict[str, dict[str, Any]], *more: str) -> str:
    """The sentences at a report's head; `more` stands behind the commits."""
    cells = list(rows.values())
    dates = [cell["date"] for cell in cells]
    first, last = min(dates), max(dates)
    when = f"on {first}" if first == last else f"from {first} to {last}"
    commits = sorted({cell["commit"] for cell in cells})
    return (
        f"Written by `python studies/{study}/study.py report` from {len(cells)} cells of "
        f"`results.jsonl`, trained {when} in "
        f"{sum(cell['seconds'] for cell in cells) / 3600:.1f} hours of one thread, at commit "
        f"{', '.join([*commits, *more])}. What was asked, and how it is answered, is in "
        "[protocol.md](protocol.md)."
    )


def program(
    doc: str,
    results: Path,
    report: Callable[[dict[str, dict[str, Any]]], Iterable[str]],
    draw: Callable[[dict[str, dict[str, Any]], Path], None] | None = None,
) -> click.Group:
    """A study's commands: `report`, to which the study adds its `train`.

    # Arguments
        report: Lines of `report.md`.
        draw: Writes the report's pictures into a folder.
    """
    group = click.Group(help=doc)

    @group.command("report")
    @click.option("--results", type=click.Path(path_type=Path), default=results)
    @click.option("--output", type=click.Path(path_type=Path), default=results.parent)
    def report_command(results: Path, output: Path) -> None:
        """Write report.md and its pictures."""
        rows = finished(results)
        (output / "report.md").write_text("\n".join(report(rows)) + "\n")
        if draw is not None:
            draw(rows, output)

    return group


@dataclass(frozen=True)
class Effect:
    """Mean of paired differences, and its 95 % interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, differences: np.ndarray) -> Effect:
        """By Student's t."""
        mean, count = float(np.mean(differences)), len(differences)
        error = np.std(differences, ddof=1) / np.sqrt(count)
        half = float(stats.t.ppf(0.975, count - 1) * error)
        return cls(mean, mean - half, mean + half)

    def __str__(self) -> str:
        return f"{self.mean:+.2f} ({self.low:+.2f} to {self.high:+.2f})"

    @property
    def verdict(self) -> str:
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no difference shown"
