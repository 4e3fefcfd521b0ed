"""How a training's checkpoint becomes a trained model of the package, and its picture."""

import conftest
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from larq_insta import models
from larq_insta_runtime.card import Card


@pytest.fixture(scope="module")
def pack():
    return conftest.module("studies/pack.py")


def network(rng, **arguments):
    """With batch normalisations as after a training."""
    model = models.InstaResNet18(
        input_shape=(8, 8, 3), num_classes=3, stem="small", filters=(4, 8), **arguments
    )
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(size=layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.001, 2, layer.moving_variance.shape))
    return model


def test_signs_are_what_counts(pack, rng):
    model = network(rng)
    images = rng.normal(size=(16, 8, 8, 3)).astype(np.float32)
    before, kernels = model.predict(images, verbose=0), {}
    for layer in model.layers:
        if getattr(layer, "kernel_quantizer", None) is not None:
            kernels[layer.name] = layer.kernel.numpy()
    pack.keep_signs(model)
    np.testing.assert_allclose(model.predict(images, verbose=0), before, atol=1e-5)
    for name, kernel in kernels.items():
        packed = model.get_layer(name).kernel.numpy()
        assert len(np.unique(np.abs(packed))) == 1
        np.testing.assert_array_equal(packed >= 0, kernel >= 0)


def test_binary_layers_without_scales_are_refused(pack, rng):
    model = network(rng)
    model.get_layer("stage1_block1_conv").kernel_quantizer = tf.identity
    with pytest.raises(pack.click.ClickException, match="stage1_block1_conv is no scaled"):
        pack.keep_signs(model)


def test_a_packed_card_is_complete_and_names_no_folder(pack, rng):
    model = network(rng)
    card = Card("InstaResNet18", {"filters": (4, 8)}, "/home/me/imagenette", ("a", "b", "c"), None)
    packed = pack.packed_card(card, "imagenette", model)
    assert packed.dataset == "imagenette"
    assert packed.model_arguments == {
        "input_shape": (8, 8, 3),
        "num_classes": 3,
        "stem": "small",
        "filters": (4, 8),
    }


def test_the_golf_ball_is_that_of_its_script():
    drawn = conftest.module("studies/photographs/golf_ball.py").draw()
    with Image.open(conftest.FIXTURES.parents[1] / "docs" / "golf_ball.jpg") as kept:
        difference = np.abs(np.asarray(drawn, float) - np.asarray(kept, float))
    assert difference.mean() < 5
