"""What a model file is, in words: its card, what lies beside it, and a trained model's document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from larq_insta_runtime import packaged
from larq_insta_runtime.card import Card
from larq_insta_runtime.commands import shown
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.naming import listed
from larq_insta_runtime.rows import described

Row = tuple[str, str]

_WIDTH = 12
_MOST_LINES = 12
_MOST_CLASSES = 20
_UNSAID = (
    ("limits", "any picture gets one of its classes, also one of something else"),
    ("licence", "not said in the file: ask whoever trained it, and see that of its pictures"),
)


def describe(path: Path) -> Iterator[str]:
    """Lines on a file that larq_insta has written, or on a trained model by its name.

    # Raises
        InputError: if it is none.
    """
    file = packaged.find(path)
    if not file.is_file():
        raise InputError(f"A model file must exist; got {str(path)!r}: check the path.")
    kind = _lite(file) if file.suffix == ".tflite" else "a checkpoint of Keras"
    card = Card.read(file)
    if card is None:
        raise InputError(
            f"A model file must carry a card; {path} has none: use a whole .keras or .tflite file "
            "that `larq-insta train` or `larq-insta convert` wrote."
        )
    document = packaged.document(file)
    rows = [("file", f"{file.name}, {file.stat().st_size:,} bytes, {kind}"), *_of_card(card)]
    if document is None:
        rows += [("accuracy", _accuracy(file)), *_UNSAID]
    yield shown(f"{card.model}, {len(card.class_names):,} classes of {card.dataset}")
    for name, value in rows:
        yield from described(name, value, _WIDTH, _MOST_LINES)
    if document is not None:
        yield from ("", *document.read_text(encoding="utf-8").splitlines())


def _lite(file: Path) -> str:
    from larq_insta_runtime import checks, running
    from larq_insta_runtime.graph import BINARY_CONVOLUTION

    graph = checks.check(running.read_content(file), str(file))
    binary = sum(operator.name == BINARY_CONVOLUTION for operator in graph.operators)
    taken = ", ".join(f"{tensor.dtype} {_sizes(tensor.shape)}" for tensor in graph.inputs)
    return f"for TensorFlow Lite, {binary} binary convolutions, takes {taken}"


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _of_card(card: Card) -> Iterator[Row]:
    training = dict(card.training)
    yield "pictures", _pictures(card)
    yield "classes", listed(card.class_names, _MOST_CLASSES)
    yield "arguments", _settings(card.model_arguments)
    yield "trained on", card.dataset
    yield "teacher", str(training.pop("teacher", None) or "none")
    yield "settings", _settings(training)
    yield "versions", ", ".join(f"{name} {version}" for name, version in card.versions.items())


def _pictures(card: Card) -> str:
    pre = card.preprocessing
    colours = "grey" if pre.channels == 1 else "RGB"
    part = "" if pre.crop == 1 else f" of {pre.crop:.4g} times the shorter side"
    means, deviations = (" ".join(f"{x:.6g}" for x in numbers) for numbers in (pre.mean, pre.std))
    return (
        f"the centre square{part}, {pre.resampling} to {pre.size} x {pre.size} pixels, {colours}, "
        f"as (pixel - {means}) / {deviations}"
    )


def _settings(values: Mapping[str, Any]) -> str:
    """Those that are set."""
    said = (f"{name} {json.dumps(value)}" for name, value in values.items() if value is not None)
    return ", ".join(said)


def _accuracy(file: Path) -> str:
    """As told beside the file by the commands that wrote it."""
    if file.suffix == ".tflite":
        beside, key = file.with_name(f"{file.name}.json"), "file_accuracy"
    else:
        beside, key = file.with_name("result.json"), "test_accuracy"
    try:
        values = json.loads(beside.read_text())
        if values.get("checkpoint", file.name) == file.name:
            of = f"{values['pictures']:,} " if "pictures" in values else ""
            return f"{values[key]:.2%} of {of}test pictures, as {beside.name} beside the file says"
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass
    return "not said beside the file: measure it with `larq-insta evaluate`"
