"""Keras checkpoints that carry a card."""

from __future__ import annotations

import tempfile
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import tensorflow as tf

import larq_insta.layers  # noqa: F401  (registers what checkpoints name)
from larq_insta import compat
from larq_insta.checkpoints import contents
from larq_insta.checkpoints.foreign import functions_by_name
from larq_insta.rewriting.flattening import written_out_layers
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError, first_line
from larq_insta_runtime.writing import written_whole


def save(model: tf.keras.Model, path: Path, card: Card) -> None:
    """Writes a `.keras` file with its card, whole or not at all."""
    with written_whole(path) as partial, warnings.catch_warnings():
        # Of QuickNet's, which is a function; it can be read again.
        warnings.filterwarnings("ignore", "The `keras.initializers.serialize")
        model.save(partial)
        if compat.keras_package() != "keras":
            compat.use_common_names(partial)
        card.append_to(partial)


def load(path: Path) -> tf.keras.Model:
    """Reads a `.keras` or `.h5` checkpoint, of what `keras_files` knows to be harmless.

    # Raises
        InputError: if it is missing, no checkpoint, damaged, or would run foreign code.
    """
    if not path.exists():
        raise InputError(f"A checkpoint must exist; got {str(path)!r}: check the path.")
    if path.suffix not in (".keras", ".h5"):
        raise InputError(f"A checkpoint must be a .keras or .h5 file; got {str(path)!r}.")
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):
        raise InputError(f"{path} is no whole .keras file: train again or use another checkpoint.")
    contents.check(path)
    try:
        return _of_archive(path) if path.suffix == ".keras" else _of_h5(path)
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as a Keras checkpoint ({first_line(error)}): use one that "
            "larq_insta or Keras has saved."
        ) from error


def _of_archive(path: Path) -> tf.keras.Model:
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        model = tf.keras.saving.deserialize_keras_object(contents.configuration(archive))
        model.load_weights(archive.extract(compat.WEIGHTS, folder))
    return model


def _of_h5(path: Path) -> tf.keras.Model:
    with _without_compilation(), functions_by_name():
        return tf.keras.models.load_model(path, compile=False)


@contextmanager
def _without_compilation() -> Iterator[None]:
    """For a time leaves models uncompiled that are layers of others, too; Keras does not."""
    original = tf.keras.Model.compile_from_config
    tf.keras.Model.compile_from_config = lambda _model, _config: None
    try:
        yield
    finally:
        tf.keras.Model.compile_from_config = original


def hand_over(
    source: tf.keras.Model,
    target: tf.keras.Model,
    may_be_new: Iterable[str] = (),
    new: Iterable[str] = (),
) -> None:
    """Copies all weights from one model to another of the same layers, by name.

    Layers called in `may_be_new` may have weights besides, which keep their values; those
    called in `new` keep all.

    # Raises
        InputError: if a weight is missing, left over, or of another shape; lists all such.
    """
    given, wanted = (
        {name: w for name, w in named_weights(model).items() if _layer(name) not in set(new)}
        for model in (source, target)
    )
    more = {name for name in wanted if _layer(name) in set(may_be_new)}
    wanted = {name: weight for name, weight in wanted.items() if name in given or name not in more}
    missing, left_over = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    other = [
        f"{name} {given[name].shape} for {wanted[name].shape}"
        for name in sorted(wanted.keys() & given.keys())
        if given[name].shape != wanted[name].shape
    ]
    if missing or left_over or other:
        raise InputError(
            f"Weights go from {source.name} to {target.name} all or not at all; missing: "
            f"{', '.join(missing) or 'none'}; left over: {', '.join(left_over) or 'none'}; of "
            f"another shape: {', '.join(other) or 'none'}: use the same model and arguments."
        )
    for name, weight in wanted.items():
        weight.assign(given[name])


def _layer(weight: str) -> str:
    return weight.partition("/")[0]


def named_weights(model: tf.keras.Model) -> dict[str, tf.Variable]:
    """All weights of a model's layers, by the names of layer and weight."""
    # Models loaded from a `.keras` file lack the layer in the names of weights.
    return {
        f"{place}/{weight.name.removeprefix(layer.name + '/')}": weight
        for place, layer in written_out_layers(model)
        for weight in layer.weights
    }
