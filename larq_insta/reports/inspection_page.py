"""The pictures and the page that show what instance-aware thresholds do."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from larq_insta.reports.inspection import LayerInspection
from larq_insta_runtime.errors import InputError, first_line
from larq_insta_runtime.writing import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_EXTREMES = 8
_STATIC, _INSTANCE = "#e69f00", "#0072b2"
_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 1100px;
         margin: 2em auto; padding: 0 1em; }}
  img.chart {{ width: 100%; height: auto; }}
  table {{ border-collapse: collapse; margin: 1em 0; }}
  td, th {{ padding: .2em .9em; text-align: right; border-bottom: 1px solid #ddd; }}
  td:first-child, th:first-child {{ text-align: left; }}
  .wide {{ overflow-x: auto; }}
  .row {{ display: flex; flex-wrap: wrap; gap: .6em; margin: .3em 0 .8em; }}
  figure {{ margin: 0; width: 104px; font-size: 12px; line-height: 1.2; text-align: center; }}
  figure img {{ width: 96px; height: 96px; object-fit: contain; image-rendering: pixelated; }}
  h2 {{ margin-top: 2em; }}
</style>
<h1>{title}</h1>
{body}
</html>
"""


def save(
    folder: Path,
    title: str,
    layers: Sequence[LayerInspection],
    pictures: np.ndarray,
    labels: Sequence[str],
) -> None:
    """Writes `index.html`, which needs no other file, and the same charts as PNG files.

    # Arguments
        folder: A new folder.
        title: Of the page.
        layers: What `inspection.inspect` found.
        pictures: What it looked at, uint8 `(instances, height, width, channels)`.
        labels: Their class names.

    # Raises
        InputError: if Matplotlib is missing or the folder cannot be written.
    """
    with written_whole(folder) as partial:
        partial.mkdir()
        charts = {"thresholds": _png(_overview(layers))}
        charts |= {layer.name: _png(_chart(layer)) for layer in layers}
        for i, (name, content) in enumerate(charts.items()):
            (partial / f"{i:02d}_{name}.png").write_bytes(content)
        body = "\n".join(_body(layers, charts, pictures, labels))
        page = _PAGE.format(title=html.escape(title), body=body)
        (partial / "index.html").write_text(page, encoding="utf-8")


def _body(
    layers: Sequence[LayerInspection],
    charts: dict[str, bytes],
    pictures: np.ndarray,
    labels: Sequence[str],
) -> Iterator[str]:
    yield (
        f"<p>{len(pictures)} pictures. An instance-aware threshold is computed for every picture "
        "and channel; the static one beside it is its mean over these pictures. Shifts are told "
        "in standard deviations of what is compared with the threshold.</p>"
    )
    yield _image(charts["thresholds"], "Shifts of all layers")
    headings = (
        "layer",
        "channels",
        "spread of thresholds",
        "share of +1, static",
        "share of +1, instance-aware",
    )
    yield f'<div class="wide"><table><tr><th>{"<th>".join(headings)}</tr>'
    for layer in layers:
        yield (
            f'<tr><td><a href="#{html.escape(layer.name)}">{html.escape(layer.name)}</a>'
            f"<td>{layer.thresholds.shape[1]}<td>{layer.spread:.3f}"
            f"<td>{_range(layer.static_positives)}<td>{_range(layer.positives)}</tr>"
        )
    yield "</table></div>"
    yield "<p>Shares are means of pictures, with their standard deviations.</p>"
    for layer in layers:
        yield f'<h2 id="{html.escape(layer.name)}">{html.escape(layer.name)}</h2>'
        yield _image(charts[layer.name], f"Thresholds of {layer.name}")
        for what, instances in zip(("lowest", "highest"), layer.extremes(_EXTREMES), strict=True):
            yield f"<p>Pictures with the {what} thresholds, and their mean shift:</p>"
            yield '<div class="row">'
            for i in instances:
                caption = f"{html.escape(labels[i])}<br>{layer.shifts[i].mean():+.2f}"
                picture = _data(_encoded(pictures[i]))
                yield (
                    f'<figure><img src="{picture}" alt="{html.escape(labels[i])}">'
                    f"<figcaption>{caption}</figcaption></figure>"
                )
            yield "</div>"


def _overview(layers: Sequence[LayerInspection]) -> Figure:
    """How far thresholds move, for each layer."""
    figure = _figure(9, 1.3 + 0.3 * len(layers))
    axes = figure.add_subplot()
    rows = range(len(layers))
    for row, layer in zip(rows, layers, strict=True):
        low, first, third, high = np.quantile(layer.shifts, (0.01, 0.25, 0.75, 0.99))
        axes.barh(row, high - low, left=low, color=_INSTANCE, alpha=0.3)
        axes.barh(row, third - first, left=first, color=_INSTANCE, alpha=0.7)
    axes.axvline(0, color=_STATIC, label="static threshold")
    axes.set_yticks(rows, [layer.name for layer in layers])
    axes.invert_yaxis()
    axes.set_xlabel("shift in standard deviations: 98 % (light) and half (dark) of thresholds")
    axes.legend(loc="best")
    return figure


def _chart(layer: LayerInspection) -> Figure:
    """One layer: its thresholds, shares of +1, and alpha."""
    figure = _figure(12, 3.4)
    panels = figure.subplots(1, 3, width_ratios=(2, 1, 1))
    order = np.argsort(layer.static)
    _draw_thresholds(panels[0], layer, order)
    _draw_shares(panels[1], layer)
    _draw_alpha(panels[2], layer, order)
    return figure


def _draw_thresholds(axes: Axes, layer: LayerInspection, order: np.ndarray) -> None:
    channels = np.arange(len(order))
    low, first, third, high = np.quantile(layer.thresholds[:, order], (0.01, 0.25, 0.75, 0.99), 0)
    axes.bar(channels, high - low, bottom=low, width=0.9, color=_INSTANCE, alpha=0.3)
    axes.bar(channels, third - first, bottom=first, width=0.9, color=_INSTANCE, alpha=0.7)
    axes.step(channels, layer.static[order], where="mid", color=_STATIC)
    axes.set_xlabel("channel, ordered by its static threshold")
    axes.set_ylabel("threshold")
    axes.set_title("98 % (light) and half (dark) of pictures; static")


def _draw_shares(axes: Axes, layer: LayerInspection) -> None:
    low = min(layer.positives.min(), layer.static_positives.min())
    high = max(layer.positives.max(), layer.static_positives.max())
    bins = np.linspace(low - 1e-6, high + 1e-6, 31).tolist()
    axes.hist(layer.static_positives, bins, color=_STATIC, alpha=0.6, label="static")
    axes.hist(layer.positives, bins, color=_INSTANCE, alpha=0.6, label="instance-aware")
    axes.set_xlabel("share of +1 in a picture")
    axes.set_ylabel("pictures")
    axes.legend(fontsize=8)


def _draw_alpha(axes: Axes, layer: LayerInspection, order: np.ndarray) -> None:
    axes.set_xlabel("channel, in the same order")
    axes.set_title("alpha")
    if layer.alpha is None:
        axes.text(0.5, 0.5, "the branch replaces it", ha="center", transform=axes.transAxes)
        return
    axes.bar(np.arange(len(order)), layer.alpha[order], width=0.9, color=_INSTANCE)
    axes.axhline(0, color="gray", linewidth=0.8)


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            f"The page needs Matplotlib; got {first_line(error)}: pip install 'larq-insta[plot]'."
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


def _encoded(picture: np.ndarray) -> bytes:
    import tensorflow as tf

    return tf.io.encode_png(picture).numpy()


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _image(png: bytes, text: str) -> str:
    return f'<img class="chart" src="{_data(png)}" alt="{html.escape(text)}">'


def _range(shares: np.ndarray) -> str:
    return f"{shares.mean():.1%} ± {shares.std():.1%}"
