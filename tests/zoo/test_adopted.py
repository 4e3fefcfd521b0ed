"""Larq Zoo's networks as models of ours: InstaQuickNet and InstaRealToBinary."""

import inspect

import larq as lq
import larq_zoo as lz
import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_refused, randomize

from larq_insta import models
from larq_insta.layers import InstaPReLU, InstaThreshold
from larq_insta_runtime.errors import InputError

STATIC = {"InstaQuickNet": lz.sota.QuickNet, "InstaRealToBinary": lz.literature.RealToBinaryNet}
SMALL = {
    "InstaQuickNet": {"filters": (4, 8), "section_blocks": (1, 2)},
    "InstaRealToBinary": {},  # its widths are fixed
}
every_model = pytest.mark.parametrize("name", STATIC)


def small(name, **arguments):
    settings = {"input_shape": (12, 12, 1), "stem": "small", "num_classes": 5}
    return models.get(name)(**{**settings, **SMALL[name], **arguments})


def pictures(rng, model, count=2):
    return rng.normal(size=(count, *model.input_shape[1:])).astype(np.float32)


def kinds(model, kind):
    return [layer.name for layer in model.layers if isinstance(layer, kind)]


@pytest.fixture
def published(tmp_path, rng, monkeypatch):
    """Weights that Larq Zoo's own loader finds, and networks of Larq Zoo's with them."""

    def publish(name, include_top=True):
        static = STATIC[name](weights=None, input_shape=(64, 64, 3), include_top=include_top)
        randomize(static, rng)
        path = str(tmp_path / f"{name}.h5")
        static.save_weights(path)
        monkeypatch.setattr(lz.core.utils, "download_pretrained_model", lambda **_: path)
        return static

    return publish


@pytest.mark.slow
@every_model
@pytest.mark.parametrize("include_top", [True, False])
def test_with_imagenet_weights_it_is_the_network_of_larq_zoo(name, include_top, published, rng):
    static = published(name, include_top)
    arguments = {"weights": "imagenet", "input_shape": (64, 64, 3), "include_top": include_top}
    model = models.get(name)(**arguments)
    assert kinds(model, InstaThreshold)
    x = pictures(rng, model)
    np.testing.assert_array_equal(model(x), static(x))


@pytest.mark.slow
def test_other_classes_get_a_new_classifier(published, rng):
    static = published("InstaQuickNet")
    with pytest.warns(UserWarning, match="The classifier of insta_quicknet is new, for 7 classes"):
        model = models.InstaQuickNet(weights="imagenet", num_classes=7, input_shape=(64, 64, 3))
    ends = [tf.keras.Model(x.inputs, x.layers[-3].output) for x in (model, static)]
    x = pictures(rng, model)
    np.testing.assert_array_equal(*(end(x) for end in ends))


@pytest.mark.quick(1)
@every_model
def test_names_are_the_same_whatever_was_built_before(name):
    first, second = small(name), small(name)
    assert [x.name for x in first.layers[1:]] == [x.name for x in second.layers[1:]]
    assert [x.name for x in first.layers[-2:]] == ["head_logits", "head_probs"]
    binary = [
        layer.name
        for layer in small(name, insta_blocks="all").layers
        if isinstance(layer, lq.layers.QuantConv2D) and layer.input_quantizer
    ]
    everywhere = kinds(small(name, insta_blocks="all"), InstaThreshold)
    assert everywhere == [f"{x.rsplit('_conv', 1)[0]}_threshold" for x in binary]


def test_names_of_quicknet_say_where_a_layer_is():
    names = [layer.name for layer in small("InstaQuickNet").layers]
    assert names[1:3] == ["stem_conv", "stem_batch_norm"]
    assert {"section2_transition_pool", "section2_block2_conv", "head_pool"} <= set(names)
    only = small("InstaQuickNet", insta_blocks=["section2_block2"])
    assert kinds(only, InstaThreshold) == ["section2_block2_threshold"]


@pytest.mark.quick(1)
@every_model
def test_the_small_stem_keeps_the_size_of_maps(name):
    for stem, side in (("small", 32), ("imagenet", 8)):
        model = small(name, stem=stem, input_shape=(32, 32, 3))
        binary = next(x for x in model.layers if getattr(x, "input_quantizer", None))
        assert binary.input_shape[1:3] == (side, side)


@pytest.mark.slow
def test_arguments_reach_the_layers():
    model = small("InstaRealToBinary", plus=True, prelu={"instance_aware": ("gamma", "zeta")})
    assert {x.reduction_ratio for x in model.layers if isinstance(x, InstaThreshold)} == {32}
    parameters = {x.instance_aware for x in model.layers if isinstance(x, InstaPReLU)}
    assert parameters == {("gamma", "zeta")}
    assert not kinds(small("InstaRealToBinary", prelu={"instance_aware": ()}), InstaPReLU)


@pytest.mark.quick(1)
@every_model
def test_float_steps_have_the_same_weights(name):
    names = [
        {weight.name for weight in small(name, binary=binary).weights}
        for binary in ("both", "activations", "neither")
    ]
    assert names[0] == names[1] == names[2]


def test_an_input_tensor_stays(rng):
    inputs = tf.keras.Input((12, 12, 1))
    model = small("InstaQuickNet", input_tensor=inputs, input_shape=None, include_top=False)
    assert model.inputs[0] is inputs


@pytest.mark.quick(1)
@every_model
def test_saving_round_trip(name, rng, tmp_path):
    model = small(name)
    randomize(model, rng, 0.02)
    x = pictures(rng, model)
    model.save_weights(path := str(tmp_path / "weights.h5"))
    np.testing.assert_array_equal(small(name, weights=path)(x), model(x))


@every_model
def test_weights_that_cannot_be_fetched_are_one_line(name, monkeypatch):
    def fail(**_):
        raise OSError("URL fetch failure\non some host")

    monkeypatch.setattr(lz.core.utils, "download_pretrained_model", fail)
    with pytest.raises(InputError, match="could not be loaded .URL fetch failure.*weights=None"):
        models.get(name)(weights="imagenet")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("InstaQuickNet", {"filters": (6, 8)}, "of which the first is a multiple of 4"),
        ("InstaQuickNet", {"section_blocks": (1,)}, "as many positive numbers as `filters`"),
        ("InstaQuickNet", {"weights": "imagenet"}, "there are none of widths (4, 8) and blocks"),
        ("InstaQuickNet", {"weights": "nothing.h5"}, "must be None, 'imagenet' or the path"),
        ("InstaRealToBinary", {"stem": "large"}, "must be 'imagenet' or 'small'; got 'large'"),
        ("InstaRealToBinary", {"input_shape": (4, 4, 3)}, "at least 8 x 8 pixels"),
        ("InstaRealToBinary", {"prelu": {"statistic": "mean"}}, "got statistic: leave it out"),
        ("InstaRealToBinary", {"binary": "weights"}, "`binary` must be 'both', 'activations'"),
        ("InstaRealToBinary", {"num_classes": 0}, "`num_classes` must be at least 1; got 0"),
    ],
)
def test_bad_arguments(name, arguments, message, tmp_path, monkeypatch):
    assert_refused(lambda: small(name, **arguments), message, tmp_path, monkeypatch)


@every_model
def test_signatures(name):
    parameters = inspect.signature(models.get(name)).parameters.values()
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters)
