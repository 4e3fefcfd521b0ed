"""Writes `report.md` and `effects.png` from the results, by the protocol.

python studies/thresholds/report.py
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # what studies share

from cells import Effect, finished
from run import RESULTS
from variants import COMPARISONS, TOPOLOGIES, VARIANTS, Variant

HERE = Path(__file__).parent
PARTS = ("validation", "test")


class Scores:
    """Accuracies of finished cells, in percent."""

    def __init__(self, rows: list[dict]) -> None:
        self._rows = {(row["topology"], row["variant"], row["seed"]): row for row in rows}
        # Whole rounds alone, so that every comparison has the same seeds.
        self.seeds = {
            topology: sorted(
                set.intersection(*(self._seeds(topology, variant.name) for variant in of(topology)))
            )
            for topology in TOPOLOGIES
        }

    def _seeds(self, topology: str, variant: str) -> set[int]:
        return {seed for (t, v, seed) in self._rows if (t, v) == (topology, variant)}

    def accuracies(self, topology: str, variant: str, part: str) -> np.ndarray:
        """Of each seed."""
        rows = (self._rows[topology, variant, seed] for seed in self.seeds[topology])
        return np.array([100 * row[f"{part}_accuracy"] for row in rows])

    def effect(self, topology: str, variant: str, against: str, part: str) -> Effect:
        ours, theirs = (self.accuracies(topology, name, part) for name in (variant, against))
        return Effect.of(ours - theirs)

    def counts(self, row: dict) -> bool:
        """Whether a cell belongs to a whole round."""
        return row["seed"] in self.seeds[row["topology"]]


def of(topology: str) -> list[Variant]:
    return [variant for variant in VARIANTS if variant.name in TOPOLOGIES[topology][-1]]


def comparisons(topology: str) -> list[tuple[str, str, str]]:
    names = TOPOLOGIES[topology][-1]
    return [row for row in COMPARISONS if row[1] in names and row[2] in names]


def comparison_table(scores: Scores, topology: str) -> Iterator[str]:
    yield "| question | variant | against | validation | verdict | test |"
    yield "|---|---|---|---|---|---|"
    for question, variant, against in comparisons(topology):
        validation, test = (scores.effect(topology, variant, against, part) for part in PARTS)
        yield (
            f"| {question} | {variant} | {against} | {validation} | {validation.verdict} | {test} |"
        )


def run_table(scores: Scores, topology: str) -> Iterator[str]:
    seeds = scores.seeds[topology]
    yield "| variant | validation | test | " + " | ".join(f"seed {seed}" for seed in seeds) + " |"
    yield "|---|---|---|" + "---|" * len(seeds)
    for variant in of(topology):
        parts = [scores.accuracies(topology, variant.name, part) for part in PARTS]
        spread = " | ".join(f"{np.mean(x):.2f} ± {np.std(x, ddof=1):.2f}" for x in parts)
        runs = " | ".join(f"{a:.2f}, {b:.2f}" for a, b in zip(*parts, strict=True))
        yield f"| {variant.name} | {spread} | {runs} |"


def plot(scores: Scores, target: Path) -> None:
    from matplotlib.figure import Figure

    shown = [topology for topology in TOPOLOGIES if len(scores.seeds[topology]) > 1]
    heights = [len(comparisons(topology)) for topology in shown]
    figure = Figure(figsize=(8, 1.2 + 0.32 * sum(heights)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(shown), 1, sharex=True, height_ratios=heights))
    for ax, topology in zip(axes, shown, strict=True):
        rows = comparisons(topology)[::-1]
        for y, (_, variant, against) in enumerate(rows):
            differences = [scores.accuracies(topology, name, "test") for name in (variant, against)]
            mean = Effect.of(differences[0] - differences[1])
            ax.plot([mean.low, mean.high], [y, y], color="tab:blue", linewidth=2)
            ax.plot(differences[0] - differences[1], [y] * len(differences[0]), "k.", markersize=3)
            ax.plot(mean.mean, y, "o", color="tab:blue")
        ax.set_yticks(range(len(rows)), [f"{a}  -  {b}" for _, a, b in rows])
        ax.axvline(0, color="gray", linewidth=1)
        ax.set_title(topology)
    axes[-1].set_xlabel("difference of test accuracy, percentage points (95 % interval, runs)")
    figure.savefig(target, dpi=120)


def report(scores: Scores, rows: list[dict]) -> Iterator[str]:
    versions = rows[-1]["versions"]
    commits = sorted({row["commit"] for row in rows})
    yield "# Instance-aware thresholds on Fashion-MNIST: results"
    yield ""
    yield (
        f"Written by `python studies/thresholds/report.py` from {len(rows)} cells of "
        f"`results.jsonl` (those of whole rounds of seeds), trained from "
        f"{min(row['date'] for row in rows)} to "
        f"{max(row['date'] for row in rows)} in {sum(row['seconds'] for row in rows) / 3600:.1f} "
        f"hours of one thread, at commit {', '.join(commits)}, "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ". What was asked, and by what rule it is answered, is in [protocol.md](protocol.md); "
        "what follows from it, and what it cannot show, in [conclusions.md](conclusions.md)."
    )
    yield ""
    yield "![Differences of test accuracy](effects.png)"
    for topology in TOPOLOGIES:
        if len(scores.seeds[topology]) < 2:
            continue
        yield from ("", f"## {topology}", "")
        yield (
            f"Paired differences of accuracy over {len(scores.seeds[topology])} seeds, in "
            "percentage points, with 95 % intervals:"
        )
        yield ""
        yield from comparison_table(scores, topology)
        yield from ("", "All runs, validation and test accuracy in percent:", "")
        yield from run_table(scores, topology)
    yield from ("", "## Variants", "", "| variant | what it is |", "|---|---|")
    yield from (f"| {variant.name} | {variant.description} |" for variant in VARIANTS)


@click.command(help=__doc__)
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS)
@click.option("--output", type=click.Path(path_type=Path), default=HERE)
def main(results: Path, output: Path) -> None:
    finished_rows = list(finished(results).values())
    scores = Scores(finished_rows)
    rows = [row for row in finished_rows if scores.counts(row)]
    plot(scores, output / "effects.png")
    (output / "report.md").write_text("\n".join(report(scores, rows)) + "\n")


if __name__ == "__main__":
    main()
