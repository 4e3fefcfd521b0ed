"""Answers to validation and test pictures: they may be wrong, but must be numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_insta.data.dataset import ImageDataset
from larq_insta.training.diagnosis import unanswered
from larq_insta.training.resume import History
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.progress import counted

_REMEDY = (
    "bound the statistics (--threshold statistic_bound=8) or lower the learning rate, and use "
    "another output folder."
)


class Remarks(tf.keras.callbacks.Callback):
    """Says after which epochs answers of `network` to validation pictures are no numbers."""

    def __init__(
        self, network: tf.keras.Model, dataset: ImageDataset, say: Callable[[str], None]
    ) -> None:
        super().__init__()
        self.network = network
        self.dataset = dataset
        self.say = say

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if math.isfinite((logs or {}).get("val_loss", 0.0)):
            return
        batches = self.dataset.evaluation_batches(self.dataset.validation)
        self.say(
            f"After epoch {epoch + 1} answers to validation pictures are not finite, and it cannot "
            f"be the best: {unanswered(self.network, batches)}."
        )


def best_epoch(history: History, folder: Path) -> dict[str, Any]:
    """The logs of the best epoch.

    # Raises
        InputError: if after no epoch all answers were finite.
    """
    best = history.best
    if best is None:
        raise InputError(
            f"Answers to validation pictures must be finite; in {folder} there is no epoch after "
            f"which all are: {_REMEDY}"
        )
    return best


def test_accuracy(model: tf.keras.Model, dataset: ImageDataset) -> float:
    """Top-1 accuracy (0 to 1) on the test pictures.

    # Raises
        InputError: if an answer is not finite.
    """
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    batches = dataset.evaluation_batches(dataset.test)
    for images, labels in counted(batches, dataset.test.size, "Testing"):
        loss, accuracy = model.test_on_batch(images, labels, reset_metrics=False)
    if not math.isfinite(loss):
        raise InputError(
            "Answers to test pictures must be finite; after the best epoch they are not: "
            f"{unanswered(model, batches)}: {_REMEDY}"
        )
    return accuracy
