"""Watching a training: which signs flip, and thresholds that move."""

from operator import attrgetter

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from conftest import randomize, tiny
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from larq_insta import models
from larq_insta.layers import InstaThreshold, StaticThreshold
from larq_insta.layers.quantizers import InstaSign
from larq_insta.training.watching import (
    TensorBoardLog,
    binary_signs,
    flipped_share,
    forget_epochs,
    threshold_spread,
)
from larq_insta_runtime.errors import InputError

LAYERS = tf.keras.layers


def student(rng=None, filters=(4,), **threshold):
    """A small model; with `rng` all its weights are random, alphas among them."""
    settings = {"filters": filters, "reuse_statistics": False, "threshold": threshold or None}
    model = tiny("InstaResNet18", **settings)
    if rng is not None:
        randomize(model, rng)
    return model


def pictures(rng, count=8):
    return rng.normal(size=(count, 8, 8, 1)).astype(np.float32)


def functional(*layers, shape=(3,)):
    """A chain of layers."""
    x = inputs = tf.keras.Input(shape, name="image")
    for layer in layers:
        x = layer(x)
    return tf.keras.Model(inputs, x)


# --- signs that flip


def test_signs_are_those_of_binary_kernels_and_zero_is_positive():
    model = functional(
        LAYERS.Conv2D(1, 1, name="real"),
        lq.layers.QuantConv2D(1, 1, kernel_quantizer="ste_sign", name="binary"),
        lq.layers.QuantConv2D(1, 1, kernel_quantizer="ste_tern", name="ternary"),
        lq.layers.QuantConv2D(1, 1, input_quantizer="ste_sign", name="binary_input"),
        shape=(4, 4, 1),
    )
    assert list(binary_signs(model)) == ["binary"]
    for value, expected in [(-0.5, False), (0.0, True), (-0.0, True), (0.5, True)]:
        model.get_layer("binary").kernel.assign([[[[value]]]])
        assert binary_signs(model)["binary"].tolist() == [[[[expected]]]]


def test_share_of_flips_counts_weights_not_layers():
    before = {"a": np.array([True, True, False]), "b": np.array([False])}
    after = {"a": np.array([True, False, True]), "b": np.array([False])}
    assert flipped_share(before, after) == 2 / 4
    assert flipped_share(before, before) == 0
    assert flipped_share({}, {}) == 0


# --- thresholds that move


def test_thresholds_are_those_of_a_numpy_oracle(rng):
    model, name = student(rng, normalization=None), "stage1_block3_threshold"
    x = pictures(rng)
    before = tf.keras.Model(model.input, model.get_layer("stage1_block2_prelu").output)
    cubes = np.mean(before(x).numpy().astype(np.float64) ** 3, axis=(1, 2))
    layer = model.get_layer(name)
    expected = layer.alpha.numpy() * cubes + layer.beta.numpy()
    np.testing.assert_allclose(threshold_spread(model, x)[name], expected, rtol=1e-4, atol=1e-6)


def test_every_instance_aware_layer_is_watched(rng):
    model = student(rng, filters=(4, 8))
    thresholds = threshold_spread(model, pictures(rng, 5))
    named = [layer.name for layer in model.layers if layer.name.endswith("_threshold")]
    assert list(thresholds) == named
    assert len(named) == 8
    assert {array.shape for array in thresholds.values()} == {(5, 4), (5, 8)}


def test_thresholds_whose_statistic_is_reused_are_watched_alike(rng):
    layer = InstaThreshold(alpha_initializer="ones", name="a")
    reused = InstaThreshold(alpha_initializer="ones", return_statistic=True, name="a")
    inputs = tf.keras.Input((8, 8, 3))
    x = pictures(rng).repeat(3, axis=-1)
    spreads = []
    for outputs in (layer(inputs), reused(inputs)[0]):
        model = tf.keras.Model(inputs, outputs)
        spreads.append(threshold_spread(model, x)["a"])
    np.testing.assert_array_equal(*spreads)


def test_thresholds_inside_quantizers_are_watched(rng):
    model = functional(
        LAYERS.Conv2D(3, 1),
        lq.layers.QuantConv2D(2, 3, input_quantizer=InstaSign(InstaThreshold("mean")), name="a"),
        lq.layers.QuantConv2D(2, 3, input_quantizer=InstaSign(StaticThreshold()), name="b"),
        shape=(8, 8, 1),
    )
    randomize(model, rng)
    layer, x = model.layers[1], pictures(rng)
    threshold = model.get_layer("a").input_quantizer.threshold
    expected = threshold.alpha * tf.reduce_mean(layer(x), (1, 2)) + threshold.beta
    watched = threshold_spread(model, x)
    assert list(watched) == ["a"]
    np.testing.assert_allclose(watched["a"], expected, rtol=1e-5, atol=1e-6)


# --- what TensorBoard shows


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Folder and history of a two-epoch training of a model around the student."""
    tf.keras.utils.set_random_seed(1)
    rng, folder = np.random.default_rng(7), tmp_path_factory.mktemp("logs")
    model = student(rng)
    around = tf.keras.Sequential([model])
    around.compile("adam", "sparse_categorical_crossentropy", ["accuracy"], run_eagerly=True)
    x, y = pictures(rng, 16), np.arange(16) % 10
    log = TensorBoardLog(folder, x[:4], model)
    settings = {"validation_data": (x, y), "epochs": 2, "callbacks": [log], "verbose": 0}
    return folder, around.fit(x, y, batch_size=8, **settings).history


def logger(folder, model, x):
    """A log outside of `fit`."""
    model.compile("adam")
    log = TensorBoardLog(folder, x, model)
    log.set_model(model)
    return log


def log_epochs(log, first=0, last=0, **logs):
    for epoch in range(first, last + 1):
        log.on_epoch_begin(epoch)
        log.on_epoch_end(epoch, logs)
    return logged(log.folder)


def logged(folder):
    """What TensorBoard reads: for each tag, its steps and values.

    In the order of steps: TensorBoard takes files by their names, in which, within one second, a
    counter without leading zeros says the order.
    """
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    return {
        tag: [
            (event.step, tf.make_ndarray(event.tensor_proto))
            for event in sorted(events.Tensors(tag), key=attrgetter("step"))
        ]
        for tag in events.Tags()["tensors"]
    }


def scalars(events):
    return [(step, pytest.approx(float(value), rel=1e-5)) for step, value in events]


def test_each_epoch_has_all_tags_once_in_a_file_of_its_own(fitted):
    folder, _ = fitted
    assert sorted(path.suffix for path in folder.iterdir()) == [".epoch0000", ".epoch0001"]
    tags = logged(folder)
    logs = {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"}
    expected = {
        f"{kind}/stage1_block{block}_threshold"
        for kind in ("thresholds", "threshold_spread", "threshold_spread_relative")
        for block in (1, 2, 3, 4)
    }
    assert set(tags) == {*logs, "weights/flipped_share", *expected}
    assert all([step for step, _ in events] == [1, 2] for events in tags.values())


def test_logs_are_those_of_keras(fitted):
    folder, history = fitted
    tags = logged(folder)
    for name, values in history.items():
        assert scalars(tags[name]) == list(enumerate(values, start=1))


@pytest.mark.parametrize(
    ("kind", "rate"),
    [(tf.keras.optimizers.SGD, 0.0875), (tf.keras.optimizers.legacy.SGD, 0.075)],
    ids=["of the last update", "legacy: of the next one"],
)
def test_a_scheduled_learning_rate_is_that_of_the_epochs_end(kind, rate, tmp_path):
    log = logger(tmp_path, model := functional(LAYERS.Dense(1)), None)
    optimizer = kind(tf.keras.optimizers.schedules.PolynomialDecay(0.1, 8, 0.0))
    model.compile(optimizer)
    for _ in range(2):
        optimizer.apply_gradients([(tf.zeros_like(w), w) for w in model.weights])
    assert scalars(log_epochs(log)["learning_rate"]) == [(1, rate)]


def test_flips_are_those_of_the_epoch(rng, tmp_path):
    model = student()
    log = logger(tmp_path, model, pictures(rng))
    kernels = [x.kernel for x in model.layers if isinstance(x, lq.layers.QuantConv2D)]
    sizes = [int(tf.size(kernel)) for kernel in kernels]
    for epoch, place in enumerate([0, -1]):
        log.on_epoch_begin(epoch)
        kernels[place].assign(-kernels[place])
        log.on_epoch_end(epoch)
    expected = [(1, sizes[0] / sum(sizes)), (2, sizes[-1] / sum(sizes))]
    assert scalars(logged(tmp_path)["weights/flipped_share"]) == expected


@pytest.mark.parametrize("normalization", [None, "batch"])
def test_spreads_are_those_of_a_numpy_oracle(normalization, rng, tmp_path):
    model, x = student(rng, normalization=normalization), pictures(rng)
    tags = log_epochs(logger(tmp_path, model, x))
    layer = model.get_layer("stage1_block1_threshold")
    stem = tf.keras.Model(model.input, model.get_layer("stem_batch_norm").output)(x).numpy()
    if normalization == "batch":
        mean, variance = (weight.numpy() for weight in layer.batch_norm.weights)
        stem = (stem - mean) / np.sqrt(variance + 1e-5)
    thresholds = layer.alpha.numpy() * np.mean(stem**3, axis=(1, 2)) + layer.beta.numpy()
    spread = thresholds.std(axis=0).mean()
    relative = spread / stem.reshape(-1, 4).std(axis=0).mean()
    assert scalars(tags[f"threshold_spread/{layer.name}"]) == [(1, spread)]
    assert scalars(tags[f"threshold_spread_relative/{layer.name}"]) == [(1, relative)]


def test_histograms_count_every_instance_and_channel(rng, tmp_path):
    model, x, name = student(rng), pictures(rng), "stage1_block4_threshold"
    ((_, histogram),) = log_epochs(logger(tmp_path, model, x))[f"thresholds/{name}"]
    thresholds = threshold_spread(model, x)[name]
    assert histogram[:, 2].sum() == 8 * 4
    np.testing.assert_allclose(histogram[0, 0], thresholds.min(), rtol=1e-5)
    np.testing.assert_allclose(histogram[-1, 1], thresholds.max(), rtol=1e-5)


def test_a_threshold_without_alpha_has_no_spread(rng, tmp_path):
    model = student(rng)
    still, moving = (model.get_layer(f"stage1_block{block}_threshold") for block in (2, 3))
    still.alpha.assign(tf.zeros_like(still.alpha))
    tags = log_epochs(logger(tmp_path, model, pictures(rng, 7)))
    for kind in ("threshold_spread", "threshold_spread_relative"):
        assert tags[f"{kind}/{still.name}"][0][1] == 0
        assert tags[f"{kind}/{moving.name}"][0][1] > 0


def test_thresholds_that_overflow_do_not_end_a_training(rng, tmp_path):
    model = functional(InstaThreshold(alpha_initializer="ones", name="shift"), shape=(8, 8, 1))
    x = pictures(rng)
    x[:3] *= 1e20
    tags = log_epochs(logger(tmp_path, model, x))
    assert np.isnan(tags["threshold_spread/shift"][0][1])
    assert tags["thresholds/shift"][0][1][:, 2].sum() == 5


def test_a_model_without_thresholds_and_binary_weights_is_logged_too(rng, tmp_path):
    model = models.ReActNet18(
        input_shape=(8, 8, 1), filters=(4,), stem="small", binary="activations"
    )
    assert set(log_epochs(logger(tmp_path, model, pictures(rng)))) == {"learning_rate"}


def test_a_resumed_training_has_no_epoch_twice(tmp_path):
    log = logger(tmp_path, functional(LAYERS.Dense(1)), None)
    log_epochs(log, last=11, loss=1.0)
    forget_epochs(tmp_path, 10)
    tags = log_epochs(log, first=10, last=12, loss=2.0)
    expected = [(epoch, 1.0 if epoch <= 10 else 2.0) for epoch in range(1, 14)]
    assert [(step, float(value)) for step, value in tags["loss"]] == expected


def test_forgetting_touches_no_other_file(tmp_path):
    (tmp_path / "events.out.tfevents.1.host.2.3.v2").touch()
    (tmp_path / "notes.epoch0005").touch()
    forget_epochs(tmp_path, 0)
    forget_epochs(tmp_path / "missing", 0)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    log = logger(tmp_path / "file", functional(LAYERS.Dense(1)), None)
    with pytest.raises(InputError, match=r"Logs could not be written to .*file \(.*make room"):
        log_epochs(log)
