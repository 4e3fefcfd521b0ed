"""Every public model: topology, hand-counted cost, contracts and errors."""

import inspect

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from conftest import instance_aware, randomize, without_tracing
from zookeeper import configure

from larq_insta import models
from larq_insta.layers import InstaPReLU, InstaThreshold, RPReLU, StaticThreshold
from larq_insta.zoo import mobilenet_v1, resnet18

RESNETS = ("ReActNet18", "InstaResNet18")
BASELINES = {"InstaResNet18": "ReActNet18", "InstaMobileNetV1": "ReActNetA"}
SMALL_FILTERS = {
    "ReActNet18": (4, 8),
    "InstaResNet18": (4, 8),
    "ReActNetA": (4, 4, 8),
    "InstaMobileNetV1": (4, 4, 8),
}
ADOPTED = {"InstaQuickNet", "InstaRealToBinary"}  # see test_adopted.py
FORMS = [(name, {}) for name in SMALL_FILTERS] + [
    (name, {"plus": True, "threshold": {"normalization": "batch"}}) for name in BASELINES
]
every_form = pytest.mark.parametrize(
    ("name", "form"), FORMS, ids=[f"{n}{'-plus' if f else ''}" for n, f in FORMS]
)
every_model = pytest.mark.parametrize("name", SMALL_FILTERS)
pytestmark = pytest.mark.usefixtures("short_stages")


def small(name, **kwargs):
    settings = {"input_shape": (12, 12, 3), "stem": "small", "num_classes": 5}
    return models.get(name)(**{**settings, "filters": SMALL_FILTERS[name], **kwargs})


def pictures(rng, model, count=2):
    return rng.normal(size=(count, *model.input_shape[1:])).astype(np.float32)


def test_the_suite_knows_every_public_model():
    assert set(SMALL_FILTERS) | ADOPTED == set(models.MODELS)
    for name in models.MODELS:
        parameters = inspect.signature(models.get(name)).parameters.values()
        assert all(p.kind is p.KEYWORD_ONLY for p in parameters)
        assert f"{name}Factory" in models.__all__


@pytest.mark.quick(2)
@every_form
def test_binary_convolutions_are_shown_with_binary_inputs(name, form):
    profile = lq.models.ModelProfile(small(name, **form))
    binary = [p for p in profile.layer_profiles if p.weight_count(1)]
    per_block = 2 if name in RESNETS else None
    assert per_block is None or len(binary) == 4
    for layer in binary:
        assert layer.input_precision == 1
        assert layer.op_count("mac", 1) > 0
        assert layer.op_count("mac", 32) == 0


@pytest.mark.quick(2)
@every_form
def test_every_trainable_weight_gets_a_gradient(name, form, rng):
    model = small(name, **form)
    randomize(model, rng, 0.02)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.math.log(model(pictures(rng, model, 8), training=True)[:, 0]))
    gradients = tape.gradient(loss, model.trainable_variables)
    for weight, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None, weight.name
        assert np.isfinite(gradient).all(), weight.name
        assert np.abs(gradient).max() > 0, weight.name


@pytest.mark.quick(1)
@every_form
def test_saving_round_trip(name, form, rng, tmp_path):
    model = small(name, **form)
    randomize(model, rng, 0.02)
    x = pictures(rng, model)
    model.save(tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(x), model(x))
    for suffix in ("weights.h5", "keras"):
        model.save_weights(path := str(tmp_path / f"weights.{suffix}"))
        again = small(name, weights=path, **form)
        np.testing.assert_array_equal(again(x), model(x))


@pytest.mark.quick(2)
@every_form
def test_an_instance_does_not_depend_on_its_batch(name, form, rng):
    model = small(name, **form)
    randomize(model, rng, 0.02)
    x = pictures(rng, model, 6)
    alone = np.concatenate([model(x[i : i + 1]) for i in range(6)])
    np.testing.assert_allclose(model(x), alone, rtol=1e-4, atol=1e-6)


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("plus", [False, True])
def test_with_alpha_zero_it_is_its_static_baseline(name, plus, rng):
    baseline, insta = small(BASELINES[name]), small(name, plus=plus)
    randomize(baseline, rng)
    values = {w.name: w for w in baseline.weights}
    for weight in insta.weights:
        if weight.name in values:
            weight.assign(values.pop(weight.name))
        else:
            assert any(kind in weight.name for kind in ("alpha", "branch", "/moving_"))
    assert not values
    x = pictures(rng, insta, 4)
    np.testing.assert_array_equal(insta(x), baseline(x))
    randomize(insta, rng, 0.02)
    assert np.abs(insta(x) - baseline(x)).max() > 0


@pytest.mark.quick(1)
@every_form
def test_training_in_mixed_precision(name, form, rng):
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = small(name, **form)
        model.compile(tf.keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
        x, y = pictures(rng, model, 8), np.arange(8) % 5
        with without_tracing():
            losses = model.fit(x, y, batch_size=8, epochs=2, verbose=0).history["loss"]
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    assert np.isfinite(losses).all()
    assert model.output.dtype == tf.float32
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", BASELINES)
def test_kinds_of_layers(name):
    def kinds(model, end):
        return {type(layer) for layer in model.layers if layer.name.endswith(end)}

    everywhere = small(name, insta_blocks="all")
    assert kinds(everywhere, "_threshold") == {InstaThreshold}
    assert kinds(everywhere, "_prelu") == {InstaPReLU}
    assert kinds(small(BASELINES[name]), "_threshold") == {StaticThreshold}
    assert kinds(small(BASELINES[name]), "_prelu") == {RPReLU}
    plus = small(name, plus=True)
    assert all(x.reduction_ratio for x in plus.layers if isinstance(x, InstaThreshold))


@pytest.mark.quick(1)
@pytest.mark.parametrize(
    ("name", "blocks", "expected"),
    [
        ("InstaResNet18", "stage2", {"stage2_block1", "stage2_block2"}),
        ("InstaResNet18", ["stage2_block2", "stage1_block1"], {"stage2_block2", "stage1_block1"}),
        ("InstaMobileNetV1", ("block1",), {"block1_spatial", "block1_pointwise"}),
        ("InstaMobileNetV1", ["block2_spatial", "block2"], {"block2_spatial", "block2_pointwise"}),
    ],
)
def test_an_explicit_list_of_blocks(name, blocks, expected):
    assert instance_aware(small(name, insta_blocks=blocks)) == [expected, expected]


@pytest.mark.slow
def test_a_beginning_is_of_whole_words():
    model = models.InstaMobileNetV1(filters=(4,) * 11, insta_blocks=["block1"], include_top=False)
    assert instance_aware(model)[0] == {"block1_spatial", "block1_pointwise"}


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"insta_blocks": "some"}, "must be 'all', 'all_but_largest_maps' or some of .*'some'"),
        ({"insta_blocks": ["block"]}, "or their beginnings; got 'block'"),
        ({"insta_blocks": ()}, "leaves none: give 'all'"),
        ({"filters": (4,) * 2, "insta_blocks": ["stage3"]}, "got 'stage3'"),
        (
            {"prelu": {"statistic": "mean"}},
            "must not set .* got statistic: .*reuse_statistics=False",
        ),
        ({"prelu": {"normalization": None}}, "got normalization"),
    ],
)
def test_bad_selections_are_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        small(name, **arguments)


def test_a_network_of_one_size_has_no_smaller_maps():
    with pytest.raises(ValueError, match="'all_but_largest_maps', which leaves none"):
        small("InstaResNet18", filters=(4,))


@pytest.mark.parametrize("name", BASELINES)
def test_statistics_are_reused_where_the_width_stays(name):
    model = small(name, insta_blocks="all")
    for layer in model.layers:
        if isinstance(layer, InstaPReLU):
            block = layer.name.removesuffix("_prelu")
            before = model.get_layer(f"{block}_threshold")
            same = layer.output_shape[-1] == before.input_shape[-1]
            assert layer.statistic == (None if same else "cube_mean"), layer.name
            assert before.return_statistic
            if same:
                given = layer.inbound_nodes[0].call_kwargs["statistic"]
                assert given is before.output[1]
    assert {x.statistic for x in model.layers if isinstance(x, InstaPReLU)} == {None, "cube_mean"}


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", BASELINES)
def test_reuse_with_static_prelus_or_none(name):
    static = small(name, prelu={"instance_aware": ()})
    own = small(name, reuse_statistics=False)
    for model in (static, own):
        layers = [x for x in model.layers if isinstance(x, InstaThreshold)]
        assert layers
        assert not any(layer.return_statistic for layer in layers)


@pytest.mark.quick(2)
@every_model
def test_layer_names_are_explicit(name):
    first, second = small(name), small(name)
    automatic = {x.name for x in first.layers} ^ {x.name for x in second.layers}
    assert all(name.startswith("input_") for name in automatic)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["InstaResNet18", "InstaMobileNetV1"])
@pytest.mark.parametrize("reuse", [True, False])
def test_cubes_of_a_strange_picture_do_not_grow_without_bound(name, reuse, rng, monkeypatch):
    monkeypatch.setattr(resnet18, "BLOCKS_PER_STAGE", 4)
    widths = {"InstaResNet18": resnet18.FILTERS, "InstaMobileNetV1": mobilenet_v1.FILTERS}[name]
    settings = {"filters": [width // 8 for width in widths], "reuse_statistics": reuse}
    model = small(name, input_shape=(32, 32, 3), insta_blocks="all", **settings)
    for weight in model.weights:
        if "alpha" in weight.name:
            weight.assign(tf.ones_like(weight))
    strange = 100 * rng.normal(size=(1, 32, 32, 3)).astype(np.float32)
    assert np.isfinite(model(strange)).all()


@pytest.mark.quick(4)
@every_model
@pytest.mark.parametrize("size", [32, 33, 35, 47, 112, 113])
def test_every_size_from_32_pixels_up(name, size):
    model = models.get(name)(input_shape=(size, size + 1, 3), filters=SMALL_FILTERS[name])
    assert model.output_shape == (None, 1000)


@pytest.mark.quick(1)
@every_model
def test_larq_zoo_arguments(name, rng):
    inputs = tf.keras.Input((32, 32, 1))
    model = models.get(name)(input_tensor=inputs, include_top=False, filters=SMALL_FILTERS[name])
    assert model.input is inputs
    assert len(model.output_shape) == 4
    assert model.output_shape[-1] == SMALL_FILTERS[name][-1]
    dynamic = models.get(name)(
        input_shape=(None, None, 3), include_top=False, filters=SMALL_FILTERS[name]
    )
    assert dynamic(pictures(rng, small(name))).shape[-1] == SMALL_FILTERS[name][-1]


@every_model
def test_outputs_are_probabilities(name, rng):
    model = small(name)
    np.testing.assert_allclose(model(pictures(rng, model)).numpy().sum(-1), 1, rtol=1e-5)


@every_model
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": "imagenet"}, "no ImageNet weights .* train, or give the path"),
        ({"weights": "/no/such.h5"}, "which does not exist"),
        ({"input_shape": (31, 64, 3), "stem": "imagenet"}, "at least 32 x 32 .* use stem"),
        ({"input_shape": (7, 7, 3)}, "at least 8 x 8"),
        ({"input_shape": (32, 32)}, r"must be \(height, width, channels\)"),
        ({"input_shape": (32, 32, None)}, r"must be \(height, width, channels\)"),
        ({"num_classes": 0}, "`num_classes` must be at least 1; got 0"),
        ({"filters": ()}, "`filters` must be positive numbers"),
        ({"stem": "tiny"}, "`stem` must be 'imagenet' or 'small'; got 'tiny'"),
        ({"input_shape": (None, None, 3)}, "include_top"),
    ],
)
def test_bad_arguments_are_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        small(name, **arguments)


@pytest.mark.parametrize("name", BASELINES)
def test_bad_settings_are_refused(name):
    with pytest.raises(ValueError, match="arguments of InstaThreshold; got .*statistik"):
        small(name, threshold={"statistik": "mean"})
    with pytest.raises(ValueError, match="arguments of InstaPReLU; got"):
        small(name, prelu={"slope": 1})


def test_mobilenet_widths_stay_or_double():
    with pytest.raises(ValueError, match="or be twice as large; got 24 after 8"):
        models.ReActNetA(filters=(8, 24))


def test_unknown_model_is_told_the_nearest():
    with pytest.raises(ValueError, match=r"Did you mean InstaResNet18\?"):
        models.get("instaresnet")
    with pytest.raises(ValueError, match="Models are InstaResNet18, .*; got 'x'.$"):
        models.get("x")


@pytest.mark.quick(1)
@every_model
def test_factories_can_be_configured_by_zookeeper(name):
    factory = getattr(models, f"{name}Factory")()
    settings = {"num_classes": 5, "stem": "small", "filters": SMALL_FILTERS[name]}
    configure(factory, {"input_shape": (12, 12, 3), **settings})
    built, expected = factory.build(), small(name)
    assert [w.name for w in built.weights] == [w.name for w in expected.weights]
    assert [w.shape for w in built.weights] == [w.shape for w in expected.weights]
