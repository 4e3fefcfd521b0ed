"""One update, and validation."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import tiny

from larq_insta.training.trainer import NOT_FINITE, Trainer


def normalize(pictures):
    return tf.cast(pictures, tf.float32) / 127.5 - 1


@pytest.fixture
def batch(rng):
    return tf.constant(rng.integers(0, 256, (16, 8, 8, 1)), tf.uint8), rng.integers(0, 10, 16)


def test_an_update_is_the_gradient_and_decay_of_kernels_of_convolutions(batch):
    model = tiny(filters=(4, 8), binary="activations")
    before = [weight.numpy() for weight in model.trainable_variables]
    with tf.GradientTape() as tape:
        probabilities = model(normalize(batch[0]), training=True)
        loss = tf.keras.losses.sparse_categorical_crossentropy(batch[1], probabilities)
        gradients = tape.gradient(tf.reduce_mean(loss), model.trainable_variables)
    trainer = Trainer(model, normalize, weight_decay=0.1)
    trainer.compile(tf.keras.optimizers.SGD(1.0))
    trainer.train_on_batch(*batch)
    for old, gradient, weight in zip(before, gradients, model.trainable_variables, strict=True):
        decay = 0.1 * old if "_conv/kernel" in weight.name else 0.0
        np.testing.assert_allclose(old - weight, gradient + decay, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["InstaMobileNetV1", "InstaResNet18"])
def test_decay_spares_thresholds_biases_batch_norms_and_the_classifier(name):
    model = tiny(name, filters=(4, 8), plus=True)
    decayed = Trainer(model, normalize)._decayed
    names = {weight.name for weight in model.trainable_variables if weight.ref() in decayed}
    assert names == {f"{layer.name}/kernel:0" for layer in model.layers if "_conv" in layer.name}


@pytest.mark.slow
def test_an_update_that_is_not_finite_changes_nothing(batch):
    model = tiny()
    model.get_layer("head_logits").bias.assign([np.nan] * 10)
    trainer = Trainer(model, normalize)
    trainer.compile(tf.keras.optimizers.Adam())
    before = [weight.numpy() for weight in model.trainable_variables]
    with pytest.raises(tf.errors.InvalidArgumentError, match=NOT_FINITE):
        trainer.train_on_batch(*batch)
    for old, weight in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, weight)
    assert trainer.optimizer.iterations == 0


def test_validation_does_not_train(batch):
    model = tiny("ReActNetA")
    before = model.get_weights()
    trainer = Trainer(model, normalize)
    trainer.compile(tf.keras.optimizers.Adam())
    loss, accuracy = trainer.test_on_batch(*batch)
    probabilities = model(normalize(batch[0])).numpy()
    assert loss == pytest.approx(-np.log(probabilities[np.arange(16), batch[1]]).mean(), rel=1e-4)
    assert accuracy == pytest.approx((probabilities.argmax(-1) == batch[1]).mean())
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
