"""What a training begins with: its pictures, and the model for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from larq_insta import data, models
from larq_insta.data.dataset import ImageDataset
from larq_insta.lite.errors import InputError
from larq_insta.lite.preprocessing import Preprocessing
from larq_insta.training.configuration import Configuration


def build(name: str, dataset: ImageDataset, arguments: dict[str, Any]) -> tf.keras.Model:
    """The model for a data set's pictures; small pictures get the small stem."""
    size = dataset.preprocessing.size
    settings = {
        "input_shape": dataset.input_shape,
        "num_classes": len(dataset.class_names),
        "stem": "small" if size <= 64 else "imagenet",
        **arguments,
    }
    return models.build(name, settings)


def load_data(
    configuration: Configuration, like: Preprocessing | None, say: Callable[[str], None]
) -> ImageDataset:
    dataset = data.load(
        configuration.dataset,
        image_size=configuration.image_size,
        channels=configuration.channels,
        like=like,
        data_dir=configuration.data_dir,
        manual_dir=configuration.manual_dir,
        validation_share=configuration.validation_share,
        augmentation=configuration.augmentation,
        cache=configuration.cache,
    )
    for note in dataset.notes:
        say(note)
    if not dataset.train.size:
        raise InputError(
            f"The validation share must leave pictures to train on; of {dataset.name} "
            f"{configuration.validation_share} leaves none, {dataset.validation.size} to validate "
            f"and {dataset.test.size} to test with: take a smaller one, or another data set."
        )
    return dataset
