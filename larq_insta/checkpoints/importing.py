"""From a published ReActNet's file for PyTorch to a checkpoint of ours."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from larq_insta import models
from larq_insta.checkpoints import keras_files, reactnet
from larq_insta.data import tfds
from larq_insta.data.preprocessing import photo_preprocessing
from larq_insta.version import installed_versions
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.writing import check_writable

_DATASET = "imagenet2012"  # of all published files


def import_reactnet(
    source: Path, model: str, target: Path, image_size: int, arguments: dict[str, Any]
) -> str:
    """Writes `target`, a `.keras` file with a card, whole or not at all.

    # Arguments
        source: The file for PyTorch.
        model: Name of a model of its backbone.
        target: The `.keras` file.
        image_size: Pixels a side of the model's input.
        arguments: Of the model beside input, classes, `pad_values` and `half_turn`.

    # Returns
        What was done, in one line for the user.

    # Raises
        InputError: if the file does not fit the model, or `target` cannot be written.
    """
    if target.suffix != ".keras":
        raise InputError(f"An imported file must be called *.keras; got {str(target)!r}.")
    check_writable(target)
    class_names = tfds.class_names(_DATASET)
    arguments = {**arguments, **reactnet.ARGUMENTS}
    shape = {"input_shape": (image_size, image_size, 3), "num_classes": len(class_names)}
    network = models.build(model, {**shape, **arguments})
    zeros = reactnet.load_reactnet(network, source)
    checksum = hashlib.sha256(source.read_bytes()).hexdigest()
    card = Card(
        model=model,
        model_arguments=arguments,
        dataset=_DATASET,
        class_names=class_names,
        preprocessing=photo_preprocessing(image_size),
        training={"imported": source.name, "sha256": checksum},
        versions=installed_versions(),
    )
    keras_files.save(network, target, card)
    remark = f"; {zeros} binary weights are 0 there, and count as +1 here" if zeros else ""
    return f"{target}: {model} with all {network.count_params():,} weights{remark}"
