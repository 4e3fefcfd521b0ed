"""What a training begins with: its pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from larq_insta import data
from larq_insta.checkpoints import networks
from larq_insta.checkpoints.initial import InitialWeights
from larq_insta.checkpoints.networks import Network
from larq_insta.data.dataset import ImageDataset
from larq_insta.training.configuration import Configuration
from larq_insta_runtime.errors import InputError


def build(name: str, dataset: ImageDataset, arguments: Mapping[str, Any]) -> tf.keras.Model:
    """The model of a name, or of a file, for a data set's pictures.

    # Raises
        InputError: if there is none, or it cannot be built so.
    """
    network = networks.find(name)
    return network.build(dataset.input_shape, len(dataset.class_names), arguments)


def load_data(
    configuration: Configuration,
    network: Network,
    initial: InitialWeights | None,
    say: Callable[[str], None],
) -> ImageDataset:
    """The pictures as the network takes them, or as those that its weights come from did."""
    settings = network.settings(configuration.image_size, configuration.channels)
    dataset = data.load(
        configuration.dataset,
        **{"like": initial.preprocessing if initial else None, **settings},
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
    return network.fed(dataset, configuration.model_arguments)
