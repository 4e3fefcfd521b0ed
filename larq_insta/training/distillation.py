"""Teachers, and losses that make a student answer as its teacher does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tensorflow as tf
from larq_zoo.training.knowledge_distillation.knowledge_distillation import (
    AttentionMatchingLossLayer,
)

from larq_insta.checkpoints import keras_files
from larq_insta.data import preprocessing
from larq_insta.data.dataset import ImageDataset
from larq_insta.zoo import pretrained
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError, first_line
from larq_insta_runtime.naming import composed, listed

EFFICIENTNET_LITE0 = "efficientnet_lite0"
INPUTS = ("normalized", "pixels")
_TINY = 1e-30


@dataclass(frozen=True)
class Teacher:
    """A trained network, frozen, and how to feed it.

    `prepare` makes the network's input of uint8 pictures `(batch, height, width, channels)`.
    `network` gives one row of probabilities or logits a picture; `gives_logits` tells which.
    """

    network: tf.keras.Model
    prepare: Callable[[tf.Tensor], tf.Tensor]
    gives_logits: bool = False

    def log_probabilities(self, outputs: tf.Tensor) -> tf.Tensor:
        if self.gives_logits:
            return tf.nn.log_softmax(outputs)
        return tf.math.log(tf.maximum(tf.cast(outputs, tf.float32), _TINY))

    def is_finite(self, pictures: tf.Tensor) -> bool:
        """Whether all its answers to uint8 pictures are."""
        answers = self.network(self.prepare(pictures), training=False)
        return bool(tf.reduce_all(tf.math.is_finite(answers)))


class Distillation:
    r"""What a student learns from its teacher and from the labels.

    For teacher's and student's logits \\(t, s\\), temperature \\(T\\), label \\(y\\):

    \\[
    L = (1 - h) \, T^2 \, CE(\mathrm{softmax}(t / T), \mathrm{softmax}(s / T))
        + h \, CE(y, \mathrm{softmax}(s)) + w \, A
    \\]

    with \\(h\\) the share of hard labels and \\(A\\) Larq Zoo's attention matching, its mean over
    the layers `taps`. ReActNet has \\(T = 1, h = 0, w = 0\\).

    # Arguments
        teacher: The teacher.
        temperature: \\(T\\), above 0.
        hard_label_share: \\(h\\), from 0 to 1.
        attention_weight: \\(w\\), at least 0.
        taps: Names of layers that teacher and student have in the same shapes.

    # References
        - [Distilling the Knowledge in a Neural Network](https://arxiv.org/abs/1503.02531)
        - [Training binary neural networks with real-to-binary
            convolutions](https://openreview.net/forum?id=BJg4NgBKvH)
    """

    def __init__(
        self,
        teacher: Teacher,
        temperature: float = 1.0,
        hard_label_share: float = 0.0,
        attention_weight: float = 0.0,
        taps: tuple[str, ...] = (),
    ) -> None:
        self.teacher = teacher
        self.temperature = temperature
        self.hard_label_share = hard_label_share
        self.attention_weight = attention_weight
        self.taps = taps
        features = [teacher.network.get_layer(name).output for name in taps]
        self._matching = AttentionMatchingLossLayer(attention_weight)
        self._network = tf.keras.Model(teacher.network.inputs, [teacher.network.output, *features])

    def loss(
        self, pictures: tf.Tensor, labels: tf.Tensor, logits: tf.Tensor, features: list[tf.Tensor]
    ) -> tf.Tensor:
        """The mean of the loss over a batch, without gradient to the teacher.

        # Arguments
            pictures: uint8 `(batch, height, width, channels)`.
            labels: `(batch,)`.
            logits: The student's, `(batch, classes)`.
            features: The student's at `taps`.
        """
        outputs = self._network(self.teacher.prepare(pictures), training=False)
        answers, *teacher_features = outputs if self.taps else [outputs]
        soft = self.teacher.log_probabilities(answers) / self.temperature
        targets = tf.stop_gradient(tf.nn.softmax(soft))
        soft_loss = tf.nn.softmax_cross_entropy_with_logits(targets, logits / self.temperature)
        hard_loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        share = self.hard_label_share
        loss = (1 - share) * self.temperature**2 * soft_loss + share * hard_loss
        return tf.reduce_mean(loss) + self._attention(teacher_features, features)

    def _attention(self, teacher: list[tf.Tensor], student: list[tf.Tensor]) -> tf.Tensor:
        if not self.taps:
            return 0.0
        self._matching([student[0], teacher, student])
        return tf.add_n(self._matching.losses)


def attention_taps(student: tf.keras.Model, teacher: tf.keras.Model) -> tuple[str, ...]:
    """The last activation on maps of each size; teacher and student must both have them.

    # Raises
        InputError: if the teacher has no such layers of the same shapes.
    """
    last = {
        layer.output_shape[1:3]: layer.name
        for layer in student.layers
        if layer.name.endswith("_prelu")
    }
    if not last:
        raise InputError(
            f"Attention matching needs activations called ..._prelu; {student.name} has none: "
            "train with --attention-weight 0."
        )
    theirs = {layer.name: layer.output_shape for layer in teacher.layers}
    for name in last.values():
        expected, found = student.get_layer(name).output_shape, theirs.get(name)
        if found != expected:
            raise InputError(
                "Attention matching needs a teacher with layers of the student's names and "
                f"shapes; for {name} {expected} it has {found}: use a model of the same topology "
                "and widths, or --attention-weight 0."
            )
    return tuple(last.values())


def load_teacher(name: str, dataset: ImageDataset, foreign_input: str = "normalized") -> Teacher:
    """A teacher for a data set.

    # Arguments
        name: `"efficientnet_lite0"`, the name of a model of `tf.keras.applications` with
            ImageNet weights, of a trained model in the package, or the path of a `.keras` or
            `.h5` checkpoint.
        dataset: What it shall teach.
        foreign_input: What a checkpoint without larq_insta's card takes: `"normalized"`
            pictures, as the student does, or `"pixels"` from 0 to 255.

    # Raises
        InputError: if there is no such teacher or it does not know the data set's classes.
    """
    path = pretrained.find(Path(name))
    if path.suffix in (".keras", ".h5"):
        teacher = _from_checkpoint(path, dataset, foreign_input)
    elif name == EFFICIENTNET_LITE0:
        from larq_insta.checkpoints.efficientnet_lite import load_efficientnet_lite0

        teacher = _fed(load_efficientnet_lite0(), lambda pictures: tf.cast(pictures, tf.float32))
    else:
        teacher = _from_applications(name)
    teacher.network.trainable = False
    classes = teacher.network.output_shape[-1]
    if classes != len(dataset.class_names):
        raise InputError(
            f"A teacher must know the data set's classes; {name} has {classes}, {dataset.name} "
            f"{len(dataset.class_names)}: choose another teacher."
        )
    return teacher


def _from_checkpoint(path: Path, dataset: ImageDataset, foreign_input: str) -> Teacher:
    network = keras_files.load(path)
    card = Card.read(path)
    if card is None:
        normalize = dataset.normalize
        pixels = foreign_input == "pixels"
        return _fed(network, (lambda x: tf.cast(x, tf.float32)) if pixels else normalize)
    if [*map(composed, card.class_names)] != [*map(composed, dataset.class_names)]:
        raise InputError(
            f"A teacher must know the data set's classes in their order; {path} learned "
            f"{listed(card.class_names)}, {dataset.name} has {listed(dataset.class_names)}: choose "
            "another teacher."
        )
    return _fed(network, partial(preprocessing.normalize, card.preprocessing))


def _from_applications(name: str) -> Teacher:
    build, module = _application(name)
    try:
        network = build(weights="imagenet")
    except Exception as error:
        raise InputError(
            f"The weights of the teacher {name} could not be loaded ({first_line(error)}): check "
            f"the network, or use {EFFICIENTNET_LITE0} or a checkpoint of your own."
        ) from error
    preprocess = module.preprocess_input
    return _fed(network, lambda pictures: preprocess(tf.cast(pictures, tf.float32)))


def _application(name: str) -> tuple[Callable[..., tf.keras.Model], ModuleType]:
    applications = tf.keras.applications
    for module in vars(applications).values():
        build = getattr(module, name, None)
        if isinstance(module, ModuleType) and callable(build) and name[0].isupper():
            return build, module
    known = sorted(key for key, value in vars(applications).items() if callable(value))
    raise InputError(
        f"A teacher is a .keras or .h5 file, {EFFICIENTNET_LITE0} or a name of "
        f"tf.keras.applications ({', '.join(known)}); got {name!r}."
    )


def _fed(network: tf.keras.Model, prepare: Callable[[tf.Tensor], tf.Tensor]) -> Teacher:
    """A teacher that takes uint8 pictures of any size and colours."""
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise InputError(
            "A teacher must have one input and one output; "
            f"{network.name} has {len(network.inputs)} and {len(network.outputs)}."
        )
    *size, channels = network.input_shape[1:]

    def resized(pictures: tf.Tensor) -> tf.Tensor:
        if pictures.shape[-1] == 1 and channels == 3:
            pictures = tf.image.grayscale_to_rgb(pictures)
        if pictures.shape[-1] == 3 and channels == 1:
            pictures = tf.image.rgb_to_grayscale(pictures)
        if None not in size and tuple(pictures.shape[1:3]) != tuple(size):
            pictures = tf.image.resize(pictures, size, antialias=True)
        return prepare(pictures)

    return Teacher(network, resized, _gives_logits(network))


def _gives_logits(network: tf.keras.Model) -> bool:
    shape: list[Any] = [2, *(size or 64 for size in network.input_shape[1:])]
    images = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    rows = network(images, training=False).numpy()
    wrong = rows[~np.isfinite(rows)]
    if wrong.size:
        raise InputError(
            f"A teacher's answers must be finite; {network.name} gives {wrong[0]} to a random "
            "picture: choose another teacher."
        )
    return not (rows.min() >= 0 and np.allclose(rows.sum(-1), 1, atol=1e-3))
