"""Whether a model's answers are what files and their metadata say: probabilities."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from larq_insta_runtime.errors import InputError
from larq_insta_runtime.running import are_probabilities


def check_shape(model: tf.keras.Model) -> None:
    """Whether a model gives a number for each class.

    # Raises
        InputError: if not.
    """
    shapes = [tuple(output.shape) for output in model.outputs or ()]
    if [len(shape) for shape in shapes] == [2] and shapes[0][-1] != 1:
        return
    remedy = "put tf.keras.layers.Flatten() at its end"
    if shapes and shapes[0][-1] == 1:
        remedy = "for two classes give tf.keras.layers.Concatenate()([1 - p, p]) of its one p"
    raise InputError(
        "A model to convert must give one vector of probabilities, (pictures, classes); "
        f"{model.name} gives {' and '.join(map(str, shapes)) or 'nothing'}: {remedy}."
    )


def check_probabilities(model: tf.keras.Model, answers: np.ndarray) -> None:
    """Whether a model's answers `(pictures, classes)` are probabilities.

    # Raises
        InputError: if not, with what to add.
    """
    if are_probabilities(answers):
        return
    sums = answers.sum(-1)
    if answers.min() < 0 or answers.max() > 1:
        remedy = (
            "if they are logits convert tf.keras.Sequential([model, tf.keras.layers.Softmax()])"
        )
    else:
        remedy = "end it in a softmax over the classes (axis=-1), in place of a sigmoid"
    raise InputError(
        "A model to convert must answer with probabilities, from 0 to 1 and 1 in sum; the answers "
        f"of {model.name} are from {answers.min():.3g} to {answers.max():.3g}, their sums from "
        f"{sums.min():.3g} to {sums.max():.3g}: {remedy}."
    )
