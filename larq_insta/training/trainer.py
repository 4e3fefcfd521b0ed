"""What happens in one step of training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from larq_insta.layers.channelwise import ChannelwiseLayer
from larq_insta.rewriting import heads
from larq_insta.training.distillation import Distillation

NOT_FINITE = "a gradient is not finite"
_CHANNELWISE = (ChannelwiseLayer, tf.keras.layers.BatchNormalization)


class Trainer(tf.keras.Model):
    r"""Trains a student on uint8 pictures, as `fit` asks for.

    The loss is cross-entropy with the labels or a `Distillation`'s. Weight decay is
    ReActNet's, \\(\lambda W\\) added to the gradient of every convolution's kernel. A step
    whose gradient is not finite fails before it changes any weight. Under a distribution
    strategy, batches are each replica's share.

    # Arguments
        student: A functional classifier that ends with a softmax.
        normalize: Makes its input of uint8 pictures.
        weight_decay: \\(\lambda\\).
        distillation: The teacher's part, if any.
        trained: The weights that are trained, all by default; see `trained_weights`.
    """

    def __init__(
        self,
        student: tf.keras.Model,
        normalize: Callable[[tf.Tensor], tf.Tensor],
        weight_decay: float = 0.0,
        distillation: Distillation | None = None,
        trained: Sequence[tf.Variable] | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.normalize = normalize
        self.weight_decay = weight_decay
        self.distillation = distillation
        self.trained = student.trainable_variables if trained is None else list(trained)
        taps = distillation.taps if distillation else ()
        features = [student.get_layer(name).output for name in taps]
        self._network = tf.keras.Model(student.inputs, [heads.logits(student), *features])
        self._decayed = {weight.ref() for weight in convolution_kernels(student)}
        self._means = [
            tf.keras.metrics.Mean("loss"),
            tf.keras.metrics.SparseCategoricalAccuracy("accuracy"),
        ]

    @property
    def metrics(self) -> list[tf.keras.metrics.Metric]:
        return self._means

    def call(self, pictures: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.student(self.normalize(pictures), training=training)

    def loss_of(self, pictures: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The mean loss of a training batch, and the student's logits."""
        outputs = self._network(self.normalize(pictures), training=True)
        logits, *features = outputs if isinstance(outputs, list) else [outputs]
        if self.distillation is not None:
            return self.distillation.loss(pictures, labels, logits, features), logits
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return tf.reduce_mean(loss), logits

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        pictures, labels = data
        weights = self.trained
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        with tf.GradientTape() as tape:
            loss, logits = self.loss_of(pictures, labels)
            share = loss / replicas
        pairs = zip(tape.gradient(share, weights), weights, strict=True)
        gradients = self.optimizer.aggregate_gradients(pairs)
        with tf.control_dependencies([_check_finite(gradients)]):
            gradients = [(self._decay(g, weight), weight) for g, weight in gradients]
            self.optimizer.apply_gradients(gradients, skip_gradients_aggregation=True)
        return self._record(labels, logits, loss)

    def test_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        pictures, labels = data
        probabilities = self(pictures, training=False)
        loss = tf.keras.losses.sparse_categorical_crossentropy(labels, probabilities)
        return self._record(labels, probabilities, loss)

    def _decay(self, gradient: tf.Tensor, weight: tf.Variable) -> tf.Tensor:
        if not self.weight_decay or weight.ref() not in self._decayed:
            return tf.identity(gradient)  # within the dependency on the check
        return gradient + self.weight_decay * weight

    def _record(
        self, labels: tf.Tensor, scores: tf.Tensor, loss: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        mean, accuracy = self._means
        mean.update_state(loss)
        accuracy.update_state(labels, scores)
        return {metric.name: metric.result() for metric in self._means}


def _check_finite(gradients: list[tuple[tf.Tensor, tf.Variable]]) -> tf.Operation | None:
    finite = [tf.reduce_all(tf.math.is_finite(gradient)) for gradient, _ in gradients]
    return tf.debugging.Assert(tf.reduce_all(finite), [NOT_FINITE])


def convolution_kernels(model: tf.keras.Model) -> list[tf.Variable]:
    """The kernels of all convolutions: no biases, thresholds, batch norms or dense layers."""
    return [weight for weight in model.trainable_variables if weight.shape.rank == 4]


def trained_weights(
    model: tf.keras.Model, trainable: str, new_head: bool = False
) -> list[tf.Variable]:
    """All that are trainable, or with `"channelwise"` those of thresholds, PReLUs, batch norms.

    A new classifier is trained with them: it knows nothing yet.
    """
    if trainable == "all":
        return model.trainable_variables
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, _CHANNELWISE)]
    if new_head:
        layers.append(heads.head(model))
    weights = {weight.ref() for layer in layers for weight in layer.trainable_variables}
    return [weight for weight in model.trainable_variables if weight.ref() in weights]
