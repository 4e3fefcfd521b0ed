"""What a training needs to go on after any interruption, written whole at every epoch's end."""

from __future__ import annotations

import csv
import json
import math
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_insta.checkpoints import keras_files
from larq_insta.lite.card import Card
from larq_insta.lite.errors import InputError, first_line
from larq_insta.lite.writing import written_whole
from larq_insta.training.runs import BEST, LAST
from larq_insta.training.watching import learning_rate

_KEPT = 2
_NAME = re.compile(r"epoch-(\d+)\.index")


class History(tf.train.experimental.PythonState):
    """One row of logs an epoch."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def serialize(self) -> str:
        return json.dumps(self.rows)

    def deserialize(self, string_value: str | bytes) -> None:
        self.rows = json.loads(string_value)

    @property
    def best(self) -> dict[str, Any] | None:
        """The row of the best validation accuracy (the first such); without one the last.

        Where some answer was not finite, and the loss for that reason, the epoch is no candidate.
        """
        if "val_accuracy" not in self.rows[-1]:
            return self.rows[-1]
        finite = [row for row in self.rows if math.isfinite(row["val_loss"])]
        return max(finite, key=lambda row: row["val_accuracy"], default=None)


class States:
    """The last two states of a training in a folder, each checked by TensorFlow's checksums.

    # Arguments
        folder: Where they are; all workers must see it.
        student: The network.
        optimizer: Its optimizer, built.
        history: The logs.
        chief: Whether this process is the one that writes.
    """

    def __init__(
        self,
        folder: Path,
        student: tf.keras.Model,
        optimizer: tf.keras.optimizers.Optimizer,
        history: History,
        chief: bool = True,
    ) -> None:
        self.folder = folder
        self.history = history
        self.chief = chief
        self._checkpoint = tf.train.Checkpoint(
            student=student, optimizer=optimizer, history=history
        )

    def save(self, epoch: int) -> None:
        """Writes the state after `epoch` epochs and drops old ones."""
        name = f"epoch-{epoch:04d}"
        if not self.chief:
            # Variables that replicas hold apart are read by all workers together.
            with tempfile.TemporaryDirectory() as folder:
                self._checkpoint.write(f"{folder}/{name}")
            return
        try:
            self._checkpoint.write(str(self.folder / name))
        except (OSError, tf.errors.OpError) as error:
            raise InputError(
                f"The state of the training could not be written to {self.folder} "
                f"({first_line(error)}): make room and run the same command again."
            ) from error
        for old in self._epochs()[:-_KEPT]:
            self._remove(old)

    def restore(self, say: Callable[[str], None]) -> int:
        """Restores the newest whole state and returns its number of epochs, 0 without any.

        # Raises
            InputError: if there are states, but none is whole or of this training.
        """
        epochs = self._epochs()
        for epoch in reversed(epochs):
            try:
                self._read(self.folder / f"epoch-{epoch:04d}")
            except (tf.errors.OpError, ValueError, IndexError) as error:
                say(f"The state after epoch {epoch} is damaged ({first_line(error)}).")
            else:
                return epoch
        if epochs:
            raise InputError(
                f"No state in {self.folder} is whole: remove the output folder to begin anew."
            )
        return 0

    def _read(self, path: Path) -> None:
        reader = tf.train.load_checkpoint(str(path))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)  # verifies its checksum before anything is changed
        try:
            self._checkpoint.read(str(path)).assert_consumed()
        except AssertionError as error:
            raise InputError(
                f"The state {path} must be of the same model; it is not ({first_line(error)}): "
                "choose another output folder."
            ) from error

    def _epochs(self) -> list[int]:
        matches = (_NAME.fullmatch(path.name) for path in self.folder.glob("epoch-*.index"))
        return sorted(int(match[1]) for match in matches if match)

    def _remove(self, epoch: int) -> None:
        # The index first: without it the rest is no state.
        for part in sorted(self.folder.glob(f"epoch-{epoch:04d}.*"), reverse=True):
            part.unlink(missing_ok=True)


class Keeper(tf.keras.callbacks.Callback):
    """Keeps, at the end of each epoch, the state, and what users read, which follows from it.

    `copier` must run before the callbacks that read `copy`, the network that files are
    written of; it is the student itself, or receives its weights.
    """

    def __init__(
        self,
        folder: Path,
        card: Card,
        states: States,
        student: tf.keras.Model,
        copy: tf.keras.Model,
        chief: bool = True,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.card = card
        self.states = states
        self.student = student
        self.copy = copy
        self.chief = chief
        self.copier = tf.keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: self._copy())

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.states.history.rows.append(
            {
                "epoch": epoch + 1,
                **{name: float(value) for name, value in (logs or {}).items()},
                "learning_rate": learning_rate(self.model.optimizer),
                "seconds": round(time.monotonic() - self._start, 1),
            }
        )
        self.states.save(epoch + 1)
        self.publish()

    def publish(self) -> None:
        """Writes checkpoints and log of the state as it is, if there is one."""
        rows = self.states.history.rows
        self._copy()
        if not self.chief or not rows:
            return
        best = self.states.history.best
        keras_files.save(self.copy, self.folder / LAST, self.card)
        if "val_accuracy" in rows[-1] and best is rows[-1]:
            keras_files.save(self.copy, self.folder / BEST, self.card)
        with written_whole(self.folder / "log.csv") as partial, partial.open("w") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def _copy(self) -> None:
        if self.copy is not self.student:
            self.copy.set_weights(self.student.get_weights())
