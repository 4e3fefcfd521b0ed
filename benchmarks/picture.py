"""Draws accuracy over latency and over size, from the first table of latencies in our docs.

    python benchmarks/picture.py

The table is what `python benchmarks/twins.py` printed: latencies and sizes that were measured with
random weights, beside accuracies that others have published. So no marker is filled: that is kept
for networks whose accuracy was measured here. The picture says of which table it is, and a test
that it is of today's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOCS = Path(__file__).parents[1] / "docs"
TARGET = DOCS / "pictures" / "accuracy.png"
HEADER = "| model | top-1, published | ms | ratio to ResNet-18 | file, MB |"
ENGINE = "by Larq Compute Engine"
MADE_OF = "Description"
"""Member of the picture that tells which table it shows."""


@dataclass(frozen=True)
class Kind:
    """What a model is, and how it is drawn."""

    label: str
    colour: str
    marker: str


KINDS = {
    "Insta": Kind("instance-aware (ours)", "#d55e00", "D"),
    "ReAct": Kind("the same with static thresholds", "#0072b2", "o"),
    "QuickNet": Kind("Larq Zoo", "#009e73", "^"),
    "": Kind("not binary, int8", "#555555", "s"),
}
"""By the beginning of a model's name."""


@dataclass(frozen=True)
class Point:
    """A row of the table: published accuracy in percent, measured milliseconds and megabytes."""

    name: str
    top1: float
    milliseconds: float
    megabytes: float

    @property
    def kind(self) -> Kind:
        return next(kind for start, kind in KINDS.items() if self.name.startswith(start))


# Where labels stand, in points from their markers; what is not here stands to the right.
RIGHT = (7, 0, "left", "center")
BELOW = (0, -7, "center", "top")
ABOVE = (0, 7, "center", "bottom")
LEFT = (-7, 0, "right", "center")
PLACES = {
    ("milliseconds", "InstaResNet18"): (-5, 7, "left", "bottom"),
    ("milliseconds", "InstaResNet18, float, plain"): BELOW,
    ("milliseconds", "InstaResNet18, by Larq Compute Engine"): BELOW,
    ("milliseconds", "QuickNet, by Larq Compute Engine"): ABOVE,
    ("milliseconds", "ReActNetA"): LEFT,
    ("megabytes", "InstaResNet18"): (-5, 7, "left", "bottom"),
    ("megabytes", "ResNet-18"): BELOW,
}
LIMITS = {"milliseconds": (2.8, 40), "megabytes": (1.9, 15)}
TICKS = {"milliseconds": (3, 4, 5, 7, 10, 15, 20, 30), "megabytes": (2, 3, 4, 5, 7, 10, 14)}


def page(folder: Path = DOCS) -> str:
    """The text that holds the table.

    # Raises
        ValueError: if none of the folder's does.
    """
    texts = (path.read_text() for path in sorted(folder.glob("*.md")))
    found = next((text for text in texts if HEADER in text.splitlines()), None)
    if found is None:
        raise ValueError(f"A page of {folder} must hold the table {HEADER!r}; none does.")
    return found


def table(text: str) -> list[str]:
    """Its rows, below the header."""
    lines = text.splitlines()
    rows = lines[lines.index(HEADER) + 2 :]
    return rows[: next((n for n, row in enumerate(rows) if not row.startswith("|")), len(rows))]


def points(rows: list[str]) -> Iterator[Point]:
    """Of the rows with an accuracy."""
    base = ""
    for row in rows:
        model, top1, milliseconds, _, megabytes = (
            cell.strip().replace("`", "") for cell in row.strip("|").split("|")
        )
        name, _, rest = model.partition(", ")
        base = base if name == "the same" else name
        name = ", ".join([base, *([rest] if rest and rest not in ("int8", "int8 layers") else [])])
        published = re.match(r"[\d.]+", top1)
        if published:
            yield Point(name, float(published[0]), float(milliseconds), float(megabytes))


def conditions(text: str) -> str:
    """Date, processor and more, as the paragraph above the table has them.

    # Raises
        ValueError: if it has none.
    """
    found = re.search(r"`python benchmarks/twins\.py` \(([^)]+)\)", text)
    if found is None:
        raise ValueError(
            "The table's page must tell its date and processor in parentheses behind `python "
            "benchmarks/twins.py`; it does not."
        )
    return " ".join(found[1].split())


def digest(rows: list[str]) -> str:
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def draw(drawn: list[Point], measured: str) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, quantity in zip(panels, ("milliseconds", "megabytes"), strict=True):
        once = quantity == "megabytes"  # a file is as large whatever runs it
        scatter(axes, [x for x in drawn if not (once and ENGINE in x.name)], quantity)
    panels[0].set_ylabel("ImageNet top-1, %, as published by others", fontsize=9)
    panels[0].set_xlabel("latency measured here, ms, one thread", fontsize=9)
    panels[1].set_xlabel("file measured here, MB", fontsize=9)
    handles = [
        Line2D([], [], linestyle="", mfc="none", mec=x.colour, marker=x.marker, label=x.label)
        for x in KINDS.values()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    figure.supxlabel(measured, fontsize=7, color="#444444")
    return figure


def scatter(axes: Axes, drawn: list[Point], quantity: str) -> None:
    for point in drawn:
        x, kind = getattr(point, quantity), point.kind
        axes.plot(x, point.top1, kind.marker, mfc="none", mec=kind.colour, mew=1.6, ms=7)
        dx, dy, horizontal, vertical = PLACES.get((quantity, point.name), RIGHT)
        axes.annotate(
            point.name.replace(", ", ",\n" if ENGINE in point.name else ", "),
            (x, point.top1),
            (dx, dy),
            textcoords="offset points",
            ha=horizontal,
            va=vertical,
            fontsize=7,
            color=kind.colour,
        )
    axes.set_xscale("log")
    axes.set_xlim(*LIMITS[quantity])
    axes.set_xticks(TICKS[quantity], [str(tick) for tick in TICKS[quantity]])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


@click.command()
@click.option("--output", default=TARGET, show_default=True, type=click.Path(path_type=Path))
def main(output: Path) -> None:
    """Draws what our docs tell of latency, size and published accuracy."""
    text = page()
    rows = table(text)
    note = (
        "Open markers: accuracy as published by others, of float or binary originals; none is "
        "measured here.\nLatency and size: by larq-insta-runtime, python benchmarks/twins.py\n"
        f"({conditions(text)})"
    )
    figure = draw(list(points(rows)), note)
    figure.savefig(output, dpi=200, facecolor="white", metadata={MADE_OF: digest(rows)})
    click.echo(f"{output}: {output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
