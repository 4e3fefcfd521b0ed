"""Checkpoints of Larq Zoo's models, which name its functions and one class."""

import larq as lq
import larq_zoo as lz
import numpy as np
import pytest
import tensorflow as tf
from larq_zoo.literature.densenet import BinaryDenseNet
from larq_zoo.literature.xnornet import xnor_weight_scale

from larq_insta.checkpoints import keras_files

SMALL = {"weights": None, "input_shape": (64, 64, 3), "num_classes": 3}


def of_functions():
    """With a quantizer and an activation that are functions; so is QuickNet's initializer."""
    convolution = lq.layers.QuantConv2D(
        3, 3, input_quantizer="ste_sign", kernel_quantizer=xnor_weight_scale,
        kernel_constraint="weight_clip", input_shape=(64, 64, 3),
    )  # fmt: skip
    activation = tf.keras.layers.Activation("clip_by_value_activation")
    return tf.keras.Sequential([convolution, activation])


MODELS = {
    "QuickNetSmall": lambda: lz.sota.QuickNetSmall(**SMALL),
    "BinaryDenseNet28": lambda: lz.literature.BinaryDenseNet28(**SMALL),
    "functions": of_functions,
}


@pytest.mark.filterwarnings("ignore")  # of Keras, that `.h5` files are old
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("name", MODELS)
def test_what_larq_zoo_names_is_found(name, suffix, tmp_path, rng):
    model = MODELS[name]()
    model.save(tmp_path / f"model{suffix}")
    read = keras_files.load(tmp_path / f"model{suffix}")
    x = rng.normal(size=(2, 64, 64, 3)).astype(np.float32)
    np.testing.assert_array_equal(read(x), model(x))
    assert isinstance(read, BinaryDenseNet) == (name == "BinaryDenseNet28")
