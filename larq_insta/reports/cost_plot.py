"""A picture of where a model's cost lies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from larq_insta.reports.profiling import BOPS_PER_OP, Profile
from larq_insta_runtime.errors import InputError, first_line
from larq_insta_runtime.writing import check_writable, written_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")


def save(profile: Profile, path: Path) -> None:
    """Draws a bar a layer: binary, float and INSTA operations, in OPs.

    # Raises
        InputError: if Matplotlib is missing, the file has another suffix or cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"A plot must be called *{', *'.join(SUFFIXES)}; got {str(path)!r}.")
    check_writable(path)
    figure = draw(profile)
    with written_whole(path) as partial:
        figure.savefig(partial, format=path.suffix[1:], dpi=150, bbox_inches="tight")


def draw(profile: Profile) -> Figure:
    """The figure that `save` writes."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            f"A plot needs Matplotlib; got {first_line(error)}: pip install 'larq-insta[plot]'."
        ) from error
    layers = [layer for layer in profile.layers if layer.ops]
    total = profile.total
    parts = (
        (f"binary, BOPs / {BOPS_PER_OP}", "#0072b2", [x.bops / BOPS_PER_OP for x in layers]),
        ("float", "#e69f00", [float(x.macs) for x in layers]),
        ("INSTA", "#d55e00", [float(x.insta_operations) for x in layers]),
    )
    figure = Figure(figsize=(8, 1.4 + 0.16 * len(layers)), layout="constrained")
    axes = figure.add_subplot()
    left = [0.0] * len(layers)
    for name, colour, values in parts:
        share = sum(values) / total.ops if total.ops else 0.0
        label = f"{name}: {sum(values) / 1e6:.2f} M ({share:.1%})"
        lengths = [value / 1e6 for value in values]
        axes.barh(range(len(layers)), lengths, left=left, color=colour, label=label)
        left = [start + length for start, length in zip(left, lengths, strict=True)]
    axes.set_yticks(range(len(layers)), [layer.name for layer in layers], fontsize=7)
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.set_xlabel("operations of one picture, million OPs")
    axes.set_title(f"{profile.name}: {total.ops / 1e6:.1f} million OPs")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure
