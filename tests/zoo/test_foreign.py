"""Any Larq model made instance-aware by `larq_insta.instance_aware`."""

import larq as lq
import larq_zoo as lz
import numpy as np
import pytest
import tensorflow as tf
from conftest import BINARY, assert_refused, randomize, without_tracing

import larq_insta
from larq_insta import models
from larq_insta.layers import InstaPReLU, InstaSign, InstaThreshold, RPReLU, StaticThreshold

SIZE = (8, 8, 4)


def conv(name, filters=4, quantizer="ste_sign", **kwargs):
    settings = {**BINARY, "input_quantizer": quantizer, **kwargs}
    return lq.layers.QuantConv2D(filters, 3, name=name, **settings)


def prelu(name):
    slope = tf.keras.initializers.Constant(0.25)
    return tf.keras.layers.PReLU(slope, shared_axes=[1, 2], name=name)


def classified(inputs, x):
    x = tf.keras.layers.GlobalAveragePooling2D()(x)
    return tf.keras.Model(inputs, tf.keras.layers.Dense(3, "softmax", name="logits")(x))


def two_maps(quantizer="ste_sign"):
    """A block on the largest maps, and one behind that."""
    inputs = tf.keras.Input(SIZE)
    x = conv("first", quantizer=quantizer)(inputs)
    x = prelu("first_prelu")(x)
    y = conv("second", 6, quantizer, strides=2)(x)
    y = tf.keras.layers.BatchNormalization(name="norm")(y)
    y = RPReLU(name="second_prelu")(y)
    return classified(inputs, prelu("third_prelu")(conv("third", 6, quantizer)(y)))


def quantizer_in_front():
    inputs = tf.keras.Input(SIZE)
    signs = lq.quantizers.SwishSign(name="sign")(inputs)
    outputs = [conv(name, quantizer=None)(signs) for name in ("left", "right")]
    return classified(inputs, tf.keras.layers.Concatenate()(outputs))


def one_map_read_twice():
    inputs = tf.keras.Input(SIZE)
    x = inputs + 0.5
    left, right = conv("left")(x), conv("right", quantizer="approx_sign")(x)
    return classified(inputs, tf.keras.layers.Add()([left, right, x]))


def shared_layer():
    inputs = [tf.keras.Input(SIZE), tf.keras.Input(SIZE)]
    layer, activation = conv("twin"), prelu("both")
    outputs = [activation(layer(x)) for x in inputs]
    outputs.append(conv("of_sum")(tf.keras.layers.Add()(outputs)))
    return classified(inputs, tf.keras.layers.Concatenate()(outputs))


def nested():
    inner = two_maps()
    backbone = tf.keras.Model(inner.inputs, inner.get_layer("third").output, name="backbone")
    inputs = tf.keras.Input(SIZE)
    return classified(inputs, conv("behind", 5)(backbone(inputs, training=False)))


def sequential():
    layers = [conv("a"), tf.keras.layers.MaxPooling2D(), conv("b"), tf.keras.layers.Flatten()]
    dense = lq.layers.QuantDense(3, input_quantizer="ste_sign", activation="softmax", name="dense")
    return tf.keras.Sequential([tf.keras.Input(SIZE), *layers, dense])


def static_thresholds():
    inputs = tf.keras.Input(SIZE)
    x = StaticThreshold(name="shift", beta_regularizer="l2")(inputs)
    x = conv("in_front")(x)
    quantizer = InstaSign(StaticThreshold(name="threshold"))
    return classified(inputs, conv("inside", quantizer=quantizer)(x))


def named_signs():
    """Signs of three kinds, and layers of one and three dimensions."""
    inputs = tf.keras.Input((4, 4, 4, 3))
    kwargs = {"padding": "same", "kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip"}
    sign = lq.quantizers.ApproxSign()
    x = lq.layers.QuantConv3D(4, 3, input_quantizer=sign, name="deep", **kwargs)(inputs)
    x = tf.keras.layers.Reshape((64, 4))(x)
    sign = lq.quantizers.DoReFa(k_bit=1, mode="activations")
    x = lq.layers.QuantConv1D(4, 3, input_quantizer=sign, name="long", **kwargs)(x)
    return tf.keras.Model(inputs, tf.keras.layers.GlobalAveragePooling1D()(x))


def shared_static_threshold():
    inputs = tf.keras.Input(SIZE)
    threshold = StaticThreshold(name="twin")
    x = prelu("first_prelu")(conv("first")(threshold(inputs)))
    x = prelu("second_prelu")(conv("second")(threshold(x)))
    return classified(inputs, x)


def layers_inside_and_outside():
    """Without the model that they are in being called again."""
    layer, activation = conv("twin"), prelu("twin_prelu")
    inside, inputs = tf.keras.Input(SIZE), tf.keras.Input(SIZE)
    inner = tf.keras.Model(inside, activation(layer(inside)), name="inner")
    return classified(inputs, activation(layer(inner(inputs))))


def signs_of_signs():
    inputs = tf.keras.Input(SIZE)
    signs = lq.quantizers.SteSign(name="sign")(inputs)
    return classified(inputs, conv("again")(signs))


def threshold_in_a_layer_of_its_own():
    inputs = tf.keras.Input(SIZE)
    signs = InstaSign(StaticThreshold(name="inside"), name="sign")(inputs)
    return classified(inputs, conv("behind", quantizer=None)(signs))


def adapted():
    normalize = tf.keras.layers.Normalization(name="normalize")
    normalize.adapt(np.random.default_rng(0).normal(3, 2, size=(50, *SIZE)))
    inputs = tf.keras.Input(SIZE)
    return classified(inputs, conv("first")(normalize(inputs)))


TOPOLOGIES = {
    two_maps: 3,
    quantizer_in_front: 1,
    one_map_read_twice: 1,
    shared_layer: 2,
    nested: 4,
    sequential: 2,
    static_thresholds: 2,
    named_signs: 2,
    shared_static_threshold: 1,
    layers_inside_and_outside: 1,
    signs_of_signs: 1,
    threshold_in_a_layer_of_its_own: 1,
    adapted: 1,
}
"""Models, and how many thresholds they need."""

every_topology = pytest.mark.parametrize("build", TOPOLOGIES, ids=lambda build: build.__name__)


def pictures(rng, model, count=3):
    given = [rng.normal(size=(count, *x.shape[1:])).astype(np.float32) for x in model.inputs]
    return given if len(given) > 1 else given[0]


def layers_of(model, kind):
    return [layer for layer in model._flatten_layers() if isinstance(layer, kind)]


def without_numbers(config):
    """Without what Keras numbers through: names of quantizers and inputs."""
    if isinstance(config, dict):
        quantizer = "class_name" in config and "sign" in str(config.get("registered_name"))
        return {
            key: without_numbers(value)
            for key, value in config.items()
            if not (key == "name" and str(value).rstrip("_0123456789").endswith("sign"))
            and not quantizer
        }
    return [without_numbers(x) for x in config] if isinstance(config, list) else config


@every_topology
def test_a_copy_answers_bit_for_bit_as_its_original(build, rng):
    model = build()
    randomize(model, rng)
    copy = larq_insta.instance_aware(model, blocks="all")
    assert len(layers_of(copy, InstaThreshold)) == TOPOLOGIES[build]
    images = pictures(rng, model)
    with without_tracing():
        np.testing.assert_array_equal(copy(images), model(images))
    np.testing.assert_array_equal(copy.predict_on_batch(images), model.predict_on_batch(images))


@every_topology
def test_thresholds_change_answers_and_get_gradients(build, rng):
    model = build()
    copy = larq_insta.instance_aware(model, blocks="all")
    alphas = [layer.alpha for layer in layers_of(copy, InstaThreshold)]
    images = pictures(rng, model)
    with tf.GradientTape() as tape:
        answers = copy(images, training=True)
        loss = tf.reduce_sum(answers * rng.normal(size=answers.shape).astype(np.float32))
    assert all(np.any(gradient) for gradient in tape.gradient(loss, alphas))
    for alpha in alphas:
        alpha.assign(np.full(alpha.shape, 0.7))
    assert not np.array_equal(copy(images), answers)


@pytest.mark.parametrize("name", ["ReActNet18", "ReActNetA"])
@pytest.mark.parametrize("blocks", ["all_but_largest_maps", "all"])
@pytest.mark.usefixtures("short_stages")
def test_a_static_model_becomes_its_insta_bnn(name, blocks):
    arguments = {"input_shape": (16, 16, 3), "stem": "small", "num_classes": 5}
    arguments |= {"filters": (4, 8) if name == "ReActNet18" else (4, 4, 8, 8)}
    static = models.get(name)(**arguments)
    twin = {"ReActNet18": "InstaResNet18", "ReActNetA": "InstaMobileNetV1"}[name]
    wanted = models.get(twin)(**arguments, insta_blocks=blocks)
    made = larq_insta.instance_aware(static, blocks=blocks)
    assert {w.name for w in made.weights} == {w.name for w in wanted.weights}
    pairs = zip(made.layers[1:], wanted.layers[1:], strict=True)
    for ours, theirs in pairs:
        assert type(ours) is type(theirs)
        found, expected = (without_numbers(layer.get_config()) for layer in (ours, theirs))
        if isinstance(ours, InstaThreshold):  # theirs gives it also where no PReLU reads it
            del found["return_statistic"], expected["return_statistic"]
        assert found == expected


def test_a_copy_is_independent_and_keeps_what_was_set(rng):
    model = two_maps()
    model.get_layer("second").trainable = False
    model.get_layer("third").kernel_quantizer.trainable = False
    model.get_layer("norm").trainable = False
    before = model.get_weights()
    copy = larq_insta.instance_aware(model, blocks="all")
    for layer in model.layers[1:]:
        assert copy.get_layer(layer.name).trainable == layer.trainable
    assert not copy.get_layer("third").kernel_quantizer.trainable
    copy.set_weights([x + 1 for x in copy.get_weights()])
    for was, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)


def test_regularizers_and_the_static_beta_stay(rng):
    model = static_thresholds()
    randomize(model, rng)
    copy = larq_insta.instance_aware(model, blocks="all")
    threshold = copy.get_layer("shift")
    assert isinstance(threshold, InstaThreshold)
    assert isinstance(threshold.beta_regularizer, tf.keras.regularizers.L2)
    np.testing.assert_array_equal(threshold.beta, model.get_layer("shift").beta)
    inside = model.get_layer("inside").input_quantizer.threshold
    np.testing.assert_array_equal(copy.get_layer("inside_threshold").beta, inside.beta)
    assert not copy.get_layer("inside").input_quantizer.weights


def test_arguments_reach_the_layers():
    copy = larq_insta.instance_aware(
        two_maps(),
        blocks="all",
        statistic="mean",
        normalization=None,
        reduction_ratio=2,
        prelu=["slope", "zeta"],
        reuse_statistics=False,
        threshold={"stop_gradient": True, "branch_activation": "tanh"},
    )
    for layer in layers_of(copy, InstaThreshold):
        assert (layer.statistic, layer.normalization, layer.reduction_ratio) == ("mean", None, 2)
        assert layer.stop_gradient
        assert layer.statistic_bound == 8  # as slopes multiply
    prelus = layers_of(copy, InstaPReLU)
    assert len(prelus) == 3
    assert {layer.instance_aware for layer in prelus} == {("slope", "zeta")}
    assert {layer.statistic for layer in prelus} == {"mean"}
    assert not any(layer.stop_gradient for layer in prelus)
    assert not layers_of(larq_insta.instance_aware(two_maps(), prelu=None), InstaPReLU)


def test_batch_normalisation_is_of_thresholds_alone(rng):
    model = two_maps()
    randomize(model, rng)
    copy = larq_insta.instance_aware(model, blocks="all", normalization="batch")
    assert {x.normalization for x in layers_of(copy, InstaThreshold)} == {"batch"}
    assert {x.normalization for x in layers_of(copy, InstaPReLU)} == {None, "statistic"}
    images = pictures(rng, model)
    np.testing.assert_array_equal(copy(images), model(images))  # signs do not see a scale


def test_prelus_reuse_the_statistic_of_their_threshold():
    copy = larq_insta.instance_aware(two_maps(), blocks="all")
    reusing = {x.name: x.statistic is None for x in layers_of(copy, InstaPReLU)}
    # That of the second block has more channels than what the threshold reads.
    assert reusing == {"first_prelu": True, "second_prelu": False, "third_prelu": True}


@pytest.mark.parametrize(
    ("blocks", "thresholds", "prelus"),
    [
        ("all_but_largest_maps", {"third_threshold"}, {"third_prelu"}),
        ("first", {"first_threshold"}, set()),  # a whole name is none's beginning
        (["second", "third_prelu"], {"second_threshold"}, {"third_prelu"}),
        (lambda layer: "third" in layer.name, {"third_threshold"}, {"third_prelu"}),
    ],
)
def test_blocks_select(blocks, thresholds, prelus):
    copy = larq_insta.instance_aware(two_maps(), blocks=blocks)
    assert {layer.name for layer in layers_of(copy, InstaThreshold)} == thresholds
    assert {layer.name for layer in layers_of(copy, InstaPReLU)} == prelus


def test_a_beginning_selects_all_that_begin_so():
    copy = larq_insta.instance_aware(nested(), blocks=["behind", "third"])
    assert {layer.name for layer in layers_of(copy, InstaThreshold)} == {
        "behind_threshold",
        "third_threshold",
    }
    assert copy.get_layer("backbone").get_layer("third_threshold")
    prefixed = tf.keras.Input(SIZE)
    model = classified(prefixed, conv("block_b")(conv("block_a")(prefixed)))
    assert len(layers_of(larq_insta.instance_aware(model, blocks="block"), InstaThreshold)) == 2


def test_what_is_instance_aware_already_stays():
    model = larq_insta.instance_aware(two_maps(), blocks="first", prelu=None)
    copy = larq_insta.instance_aware(model, blocks="all")
    names = [layer.name for layer in layers_of(copy, InstaThreshold)]
    assert sorted(names) == ["first_threshold", "second_threshold", "third_threshold"]


def test_precision_is_that_of_the_original(rng):
    tf.keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = two_maps()
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    randomize(model, rng)
    copy = larq_insta.instance_aware(model, blocks="all")
    assert {x.compute_dtype for x in layers_of(copy, (InstaThreshold, InstaPReLU))} == {"float16"}
    images = pictures(rng, model)
    np.testing.assert_array_equal(copy(images), model(images))


def test_a_distributed_model_stays_distributed():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = two_maps()
    copy = larq_insta.instance_aware(model)
    assert copy.distribute_strategy is strategy
    assert all(strategy.extended.variable_created_in_scope(w) for w in copy.weights)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_files_keep_it(suffix, tmp_path, rng):
    copy = larq_insta.instance_aware(nested(), blocks="all")
    randomize(copy, rng)
    copy.save(tmp_path / f"model{suffix}")
    loaded = tf.keras.models.load_model(tmp_path / f"model{suffix}", compile=False)
    images = pictures(rng, copy)
    np.testing.assert_array_equal(loaded(images), copy(images))


def test_costs_are_counted_right():
    model = two_maps()
    copy = larq_insta.instance_aware(model, blocks="all", prelu=None)
    ours, theirs = lq.models.ModelProfile(copy), lq.models.ModelProfile(model)
    counts = [[p.op_count("mac", bits) for bits in (1, 32)] for p in (ours, theirs)]
    assert counts[0] == counts[1]
    kept = sum(layer.count_params() for layer in layers_of(copy, InstaThreshold))
    assert copy.count_params() == model.count_params() + kept


def test_quantizers_of_ones_own_are_allowed_by_name(rng):
    @lq.utils.register_keras_custom_object
    class HardSign(tf.keras.layers.Layer):
        precision = 1

        def call(self, x):
            return lq.math.sign(x)

    def heaviside(x):
        return tf.cast(x > 0, x.dtype)

    for quantizer, allowed in ((HardSign(), HardSign), (heaviside, "heaviside")):
        model = two_maps(quantizer)
        with pytest.raises(ValueError, match="Quantizers must be Larq's or ours; that of layer"):
            larq_insta.instance_aware(model)
        extra = [allowed, heaviside] if quantizer is heaviside else [allowed]
        copy = larq_insta.instance_aware(model, blocks="all", extra_quantizers=extra)
        images = pictures(rng, model)
        np.testing.assert_array_equal(copy(images), model(images))
        assert len(layers_of(copy, InstaThreshold)) == 3


@lq.utils.register_keras_custom_object
class OwnSign(tf.keras.layers.Layer):
    precision = 1

    def call(self, x):
        return lq.math.sign(x)


def own_sign_in_front():
    inputs = tf.keras.Input(SIZE)
    return classified(inputs, conv("behind", quantizer=None)(OwnSign(name="sign")(inputs)))


def test_quantizers_of_ones_own_may_be_layers_in_front(rng):
    model = own_sign_in_front()
    for allowed in (OwnSign, [OwnSign], "OwnSign"):
        copy = larq_insta.instance_aware(model, blocks="all", extra_quantizers=allowed)
        assert isinstance(copy.get_layer("sign_threshold"), InstaThreshold)
        images = pictures(rng, model)
        np.testing.assert_array_equal(copy(images), model(images))


def test_behind_a_model_a_prelu_has_a_statistic_of_its_own():
    inner = two_maps()
    inner = tf.keras.Model(inner.inputs, inner.get_layer("norm").output, name="inner")
    inputs = tf.keras.Input(SIZE)
    x = prelu("behind")(inner(conv("front")(inputs)))
    copy = larq_insta.instance_aware(classified(inputs, x), blocks=["front", "behind"])
    assert copy.get_layer("behind").statistic == "cube_mean"


def unregistered(x):
    return x


class Subclassed(tf.keras.Model):
    def call(self, inputs):
        return inputs


class Composite(tf.keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = conv("hidden")

    def call(self, x):
        return self.inner(x)


class Forgetful(tf.keras.layers.Layer):
    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.width = width

    def call(self, x):
        return x * self.width

    def get_config(self):
        return {"name": self.name}


def of_layers(*layers):
    return tf.keras.Sequential([tf.keras.Input(SIZE), *layers])


def with_losses():
    model = two_maps()
    model.add_loss(tf.reduce_mean(model.output))
    return model


def with_sign_as_activation():
    model = two_maps()
    # Keras 2.15 cannot build it so.
    model.get_layer("second").activation = lq.quantizers.SteSign()
    return model


REFUSED = {
    "nothing": (lambda: 3, {}, "must be a Keras model; got int"),
    "unbuilt": (lambda: tf.keras.Sequential([conv("a")]), {}, "begin it with tf.keras.Input"),
    "subclassed": (Subclassed, {}, "must be functional or sequential; subclassed"),
    "subclassed_inside": (
        lambda: of_layers(conv("a"), Subclassed(name="inner")), {}, "inner is a Subclassed",
    ),
    "lambda": (
        lambda: of_layers(conv("a"), tf.keras.layers.Lambda(abs, name="code")),
        {},
        "code is a Lambda, whose code no file may hold: write a layer",
    ),
    "channels_first": (
        lambda: of_layers(conv("a"), tf.keras.layers.MaxPool2D(data_format="channels_first")),
        {},
        "must have channels last; layer max_pooling2d.* has data_format='channels_first'",
    ),
    "composite": (
        lambda: of_layers(conv("a"), Composite(name="block")), {}, "hidden is inside of block (C",
    ),
    "no_config": (
        lambda: of_layers(conv("a"), Forgetful(2, name="wide")),
        {"blocks": "all"},
        "copied; wide (Forgetful)",
    ),
    "no_function": (
        lambda: of_layers(conv("a", activation=unregistered)),
        {"blocks": "all"},
        "copied; a (QuantConv2D) is not (.*'unregistered'.*register_keras_serializable",
    ),
    "own_sign_in_front": (own_sign_in_front, {}, "that of layer sign is OwnSign: if it is a sign"),
    "no_blocks": (two_maps, {"blocks": None}, "or their beginnings; got None"),
    "losses": (with_losses, {}, "comes from `model.add_loss` or `add_metric`"),
    "sign_as_activation": (
        with_sign_as_activation, {}, "that of second is its activation (SteSign)",
    ),
    "no_signs": (lambda: of_layers(tf.keras.layers.Flatten()), {}, "must take signs of maps; no"),
    "unknown_name": (two_maps, {"blocks": ["stage9"]}, "or their beginnings; got 'stage9'"),
    "only_a_prelu": (two_maps, {"blocks": "first_prelu"}, "of first, second, third; got 'first_p"),
    "one_size": (
        lambda: of_layers(conv("a"), conv("b")), {}, "give blocks='all' (--insta-blocks all)"
    ),
    "no_size": (
        lambda: tf.keras.Sequential([tf.keras.Input((None, None, 4)), conv("a")]),
        {},
        "a reads a map of unknown size: give the model's input a size, or blocks='all'",
    ),
    "statistic": (two_maps, {"statistic": "median"}, "must be one of mean, variance, skewness"),
    "prelu": (two_maps, {"prelu": "beta"}, "must be one of 'gamma', 'slope', 'zeta'"),
    "threshold": (two_maps, {"threshold": {"degree": 2}}, "must be arguments of InstaThreshold"),
    "wide_prelu": (
        lambda: of_layers(conv("a"), tf.keras.layers.PReLU(name="p")),
        {"blocks": "all"},
        "p has slopes of shape (8, 8, 4): build it with shared_axes=[1, 2], or give prelu=None",
    ),
    "kept_prelu": (
        lambda: of_layers(
            conv("a"),
            tf.keras.layers.PReLU(shared_axes=[1, 2], alpha_constraint="NonNeg", name="p"),
        ),
        {"blocks": "all"},
        "neither regularizer nor constraint; p has",
    ),
    "a_number_of_parameters": (
        lambda: of_layers(conv("a")), {"prelu": 3}, "`prelu` must be None, a parameter's name"
    ),
    "a_number_of_settings": (
        lambda: of_layers(conv("a")), {"threshold": 3}, "`threshold` must be None or a dict"
    ),
    "a_setting_of_ours": (
        lambda: of_layers(conv("a")),
        {"threshold": {"return_statistic": True}},
        "which reuse_statistics decides; got",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_in_a_line(name, tmp_path, monkeypatch):
    build, arguments, message = REFUSED[name]
    model = build()
    assert_refused(
        lambda: larq_insta.instance_aware(model, **arguments), message, tmp_path, monkeypatch
    )


ZOO = {"QuickNet": 12, "RealToBinaryNet": 11, "BinaryDenseNet28": 17, "MeliusNet22": 26}


@pytest.mark.quick(1)
@pytest.mark.parametrize("name", ZOO)
def test_models_of_larq_zoo(name, rng):
    build = getattr(lz.sota, name, None) or getattr(lz.literature, name)
    model = build(weights=None, input_shape=(64, 64, 3))
    randomize(model, rng)
    copy = larq_insta.instance_aware(model)
    assert len(layers_of(copy, InstaThreshold)) == ZOO[name]
    names = [layer.name for layer in model.layers if "tf." not in layer.name]
    assert set(names[1:]) - {layer.name for layer in copy.layers} == (
        {x for x in names if x.endswith(("_split", "_concat", "_merge"))}
    )
    images = pictures(rng, model)
    np.testing.assert_array_equal(copy(images), model(images))
