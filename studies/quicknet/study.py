"""Is a QuickNet better with thresholds that follow the picture? See protocol.md.

    python studies/quicknet/study.py train FOLDER --manual-dir /usr/share/datasets/fashion-mnist
    python studies/quicknet/study.py report

Checkpoints and logs lie in FOLDER, results in `results.jsonl` beside this script, a line each.
Called again it goes on, and trains nothing twice.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # what studies share

from cells import Effect, finished, program, provenance, run, trained

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
SEEDS = 3
FILTERS, BLOCKS, SIZE = (16, 32, 64), (2, 2, 2), 56
EPOCHS, TUNING_EPOCHS = 4, 2
LEARNING_RATE, TUNING_RATE = 5e-3, 1e-3

VARIANTS = {
    "static": "Larq Zoo's QuickNet, from scratch",
    "instance-aware": "the same initial weights, made instance-aware",
    "static, tuned": "the trained static network, trained on",
    "instance-aware, tuned": "the trained static network, made instance-aware and trained on",
}
COMPARISONS = (("instance-aware", "static"), ("instance-aware, tuned", "static, tuned"))
PARTS = ("validation", "test")


def settings(variant: str, seed: int, folder: Path) -> dict[str, Any]:
    """Arguments of a `larq_insta.training.configuration.Configuration`."""
    tuned = variant.endswith("tuned")
    aware = {"instance_aware": True, "insta_blocks": "all"}
    start = folder / f"seed{seed}" / "static" / "best.keras" if tuned else initial(seed, folder)
    return {
        "model": str(start),
        "dataset": "fashion_mnist",
        "image_size": SIZE,
        "model_arguments": aware if variant.startswith("instance-aware") else {},
        "epochs": (TUNING_EPOCHS if tuned else EPOCHS,),
        "learning_rate": (TUNING_RATE if tuned else LEARNING_RATE,),
        "batch_size": 64,
        "seed": seed,
    }


def initial(seed: int, folder: Path) -> Path:
    """The file of an untrained network."""
    import larq_insta  # noqa: F401  # isort: skip  (before TensorFlow: it chooses Keras 2)
    import tensorflow as tf
    from larq_zoo.sota.quicknet import QuickNetFactory

    place = folder / f"seed{seed}" / "initial.keras"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        tf.keras.utils.set_random_seed(seed)
        form = {"section_filters": FILTERS, "section_blocks": BLOCKS, "num_classes": 10}
        model = QuickNetFactory(input_shape=(SIZE, SIZE, 1), weights=None, **form).build()
        model.save(place)
    return place


def train_cell(
    variant: str, seed: int, folder: Path, whereabouts: dict[str, Any]
) -> dict[str, Any]:
    from larq_insta.training.configuration import Configuration

    configuration = Configuration(**settings(variant, seed, folder), **whereabouts)
    place = folder / f"seed{seed}" / variant.replace(", ", "_")
    row = trained(configuration, place)
    row["settings"] |= {"model": Path(configuration.model).name}
    return {"cell": f"{variant}, seed {seed}", "variant": variant, "seed": seed, **row}


def accuracies(rows: dict[str, dict[str, Any]], variant: str, part: str) -> np.ndarray:
    """Of each seed, in percent."""
    return np.array(
        [100 * rows[f"{variant}, seed {seed}"][f"{part}_accuracy"] for seed in range(SEEDS)]
    )


def report(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    yield "# Thresholds that follow the picture in QuickNet's topology: results"
    yield ""
    yield provenance("quicknet", rows)
    yield from ("", "Paired differences of accuracy, in percentage points, with 95 % intervals:")
    yield from ("", "| variant | against | validation | verdict | test |", "|---|---|---|---|---|")
    for variant, against in COMPARISONS:
        validation, test = (
            Effect.of(accuracies(rows, variant, part) - accuracies(rows, against, part))
            for part in PARTS
        )
        yield f"| {variant} | {against} | {validation} | {validation.verdict} | {test} |"
    yield from ("", "All runs, validation and test accuracy in percent:", "")
    yield (
        "| variant | what it is | parameters | "
        + " | ".join(f"seed {seed}" for seed in range(SEEDS))
        + " |"
    )
    yield "|---|---|--:|" + "---|" * SEEDS
    for variant, description in VARIANTS.items():
        pairs = zip(*(accuracies(rows, variant, part) for part in PARTS), strict=True)
        runs = " | ".join(f"{validation:.2f}, {test:.2f}" for validation, test in pairs)
        parameters = rows[f"{variant}, seed 0"]["parameters"]
        yield f"| {variant} | {description} | {parameters:,} | {runs} |"


main = program(__doc__, RESULTS, report)


@main.command("train")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS)
@click.option("--data-dir")
@click.option("--manual-dir")
def train_command(folder: Path, results: Path, **whereabouts: Any) -> None:
    """Train all cells that are not finished."""
    todo = [(variant, seed) for seed in range(SEEDS) for variant in VARIANTS]
    todo = [cell for cell in todo if "{}, seed {}".format(*cell) not in finished(results)]
    # One at a time, as a tuned network starts from the trained one.
    run(train_cell, [(*cell, folder, whereabouts) for cell in todo], 1, results)


if __name__ == "__main__":
    main()
