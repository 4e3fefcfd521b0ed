"""Larq's and Larq Zoo's own training tools with our models, and what they cannot do."""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import larq as lq
import numpy as np
import pytest
import tensorflow as tf
from larq.optimizers import Bop, CaseOptimizer
from larq_zoo.training.basic_experiments import (
    TrainBinaryDenseNet28,
    TrainBinaryResNetE18,
    TrainBiRealNet,
)
from larq_zoo.training.knowledge_distillation.knowledge_distillation import (
    TeacherStudentModelFactory,
    get_unique_layer_with_partial_name,
)
from larq_zoo.training.knowledge_distillation.multi_stage_training import (
    LarqZooModelTrainingPhase,
    MultiStageExperiment,
)
from larq_zoo.training.learning_schedules import CosineDecayWithWarmup
from larq_zoo.training.sota_experiments import TrainQuickNet
from larq_zoo.training.train import TrainLarqZooModel
from sklearn.datasets import load_digits
from zookeeper import ComponentField, Field, component, configure, factory
from zookeeper.tf import Dataset, Experiment, Preprocessing

from larq_insta import models

pytestmark = [
    pytest.mark.usefixtures("short_stages"),
    # TrainLarqZooModel always saves an `.h5`, which Keras calls legacy.
    pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file"),
    # That `tf.data` has no part in `without_tracing` is meant so.
    pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions"),
]

SMALL = {"input_shape": (8, 8, 1), "stem": "small"}
ONE_STAGE = {"filters": (4,), "insta_blocks": "all"}
ARGUMENTS = {
    "ReActNet18": {"filters": (4,)},
    "InstaResNet18": ONE_STAGE,
    "ReActNetA": {"filters": (4, 8)},
    "InstaMobileNetV1": {"filters": (4, 8), "insta_blocks": "all"},
}
LOSS = "sparse_categorical_crossentropy"
DIGITS = load_digits()
PICTURES = (DIGITS.images[..., None] / 8 - 1).astype(np.float32)
LABELS = DIGITS.target
TAPS = ["stage1_block1_prelu", "stage1_block2_prelu"]


def small(name="InstaResNet18", **kwargs):
    settings = {**SMALL, "num_classes": 10, **ARGUMENTS[name], **kwargs}
    return models.get(name)(**settings)


def values(model):
    return {weight.name: weight.numpy() for weight in model.weights}


def trainable(model):
    return {weight.name for weight in model.trainable_weights}


def moved(before, after):
    return {name for name in before if (before[name] != after[name]).any()}


def binary_kernels(model):
    return [weight for weight in model.weights if Bop.is_binary_variable(weight)]


def bop_and_adam(threshold=1e-6):
    return CaseOptimizer(
        (Bop.is_binary_variable, Bop(threshold, gamma=1e-2)),
        default_optimizer=tf.keras.optimizers.legacy.Adam(1e-2),
    )


@contextmanager
def without_tracing():
    """Runs eagerly what always asks for graphs; in so short trainings these cost the most."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


@component
class Digits(Dataset):
    num_classes: int = Field(10)

    def num_examples(self, split):
        return len(self._range(split))

    def train(self, decoders=None):
        return self._part("train")

    def validation(self, decoders=None):
        return self._part("validation")

    def _range(self, split):
        return {"train": range(256), "validation": range(256, 320)}[split]

    def _part(self, split):
        part = self._range(split)
        arrays = {"image": PICTURES[part], "label": LABELS[part]}
        return tf.data.Dataset.from_tensor_slices(arrays), len(part)


@component
class Plain(Preprocessing):
    input_shape = Field((8, 8, 1))

    def input(self, data):
        return data["image"]

    def output(self, data):
        return data["label"]


class OnDigits(Experiment):
    """Fields that every experiment here has."""

    dataset = ComponentField(Digits)
    preprocessing = ComponentField(Plain)
    epochs = Field(2)
    batch_size = Field(64)


def keras_experiment(name, folder, settings=()):
    @component
    class Train(OnDigits, TrainLarqZooModel):
        model = ComponentField(getattr(models, f"{name}Factory"), **SMALL, **ARGUMENTS[name])
        optimizer = Field(lambda: tf.keras.optimizers.Adam(0.01))

    train = Train()
    configure(train, {"output_dir": folder, **dict(settings)})
    return train


def on_digits(recipe, folder, **settings):
    """An experiment of Larq Zoo with our model in it."""
    train = recipe()
    parts = {"dataset": Digits(), "preprocessing": Plain(), "model": small()}
    configure(train, {**parts, "output_dir": folder, **settings})
    return train


@pytest.fixture(scope="module", params=ARGUMENTS)
def experiment(request, tmp_path_factory):
    """One of our factories in Larq Zoo's experiment, after its run."""
    tf.keras.utils.set_random_seed(3)
    folder = tmp_path_factory.mktemp(request.param)
    train = keras_experiment(request.param, folder)
    before = values(train.model)
    with nullcontext() if request.param == "InstaResNet18" else without_tracing():
        train.run()
    return SimpleNamespace(name=request.param, folder=folder, before=before, model=train.model)


@pytest.mark.quick(1)
def test_larq_zoos_experiment_moves_every_weight(experiment):
    after = values(experiment.model)
    assert moved(experiment.before, after) == set(after)
    assert all(np.isfinite(value).all() for value in after.values())
    ends = {name.rpartition("/")[2] for name in trainable(experiment.model)}
    assert {"kernel:0", "beta:0"} <= ends
    assert ("alpha:0" in ends) == experiment.name.startswith("Insta")


@pytest.mark.quick(1)
def test_larq_zoos_experiment_lowers_a_finite_loss(experiment):
    history = experiment.model.history.history
    assert history["loss"][1] < history["loss"][0]
    assert np.isfinite(history["val_loss"]).all()


@pytest.mark.quick(1)
def test_files_of_larq_zoos_experiment_load(experiment):
    start = str(experiment.folder / experiment.model.name)
    expected = experiment.model(PICTURES[:32])
    again = small(experiment.name, weights=f"{start}_weights.h5")
    np.testing.assert_array_equal(again(PICTURES[:32]), expected)
    loaded = tf.keras.models.load_model(f"{start}.h5")
    np.testing.assert_array_equal(loaded(PICTURES[:32]), expected)


@pytest.mark.quick(1)
def test_larq_zoos_experiment_goes_on_where_it_ended(experiment):
    again = keras_experiment(experiment.name, experiment.folder)
    assert moved(values(again.model), values(experiment.model))
    again.run()
    assert not again.model.history.epoch
    assert not moved(values(again.model), values(experiment.model))


def test_an_experiments_settings_reach_the_model(tmp_path):
    settings = {"model.plus": True, "model.filters": (4,), "dataset.num_classes": 7}
    model = keras_experiment("InstaResNet18", tmp_path, settings).model
    assert model.output_shape == (None, 7)
    assert model.get_layer("stage1_block1_threshold").reduction_ratio == 32


@pytest.mark.quick(1)
@pytest.mark.parametrize("recipe", [TrainBiRealNet, TrainBinaryResNetE18])
def test_recipes_for_larq_zoos_networks_take_ours(recipe, tmp_path):
    train = on_digits(recipe, tmp_path)
    train.model.compile(train.optimizer, train.loss, run_eagerly=True)
    before = values(train.model)
    train.model.train_on_batch(PICTURES[:64], LABELS[:64])
    assert moved(before, values(train.model)) >= trainable(train.model)


def renamed(model, prefix="teacher"):
    """A copy whose layers' names do not clash with the student's."""

    def clone(layer):
        return type(layer).from_config(layer.get_config() | {"name": f"{prefix}_{layer.name}"})

    inputs = tf.keras.Input(model.input_shape[1:], name=f"{prefix}_input")
    copy = tf.keras.models.clone_model(model, inputs, clone)
    copy.set_weights(model.get_weights())
    return copy


@factory
class TeacherFactory(models.InstaResNet18Factory):
    binary = Field("neither")

    def build(self) -> tf.keras.Model:
        return renamed(super().build())


def lesson(teacher, student, **kwargs):
    settings = {
        "input_shape": (8, 8, 1),
        "num_classes": 10,
        "classification_weight": 0.5,
        "attention_matching_weight": 2.0,
        "attention_matching_volume_names": TAPS,
        "attention_matching_train_teacher": False,
        "output_matching_weight": 3.0,
        "output_matching_softmax_temperature": 4.0,
        "output_matching_train_teacher": False,
        "allow_missing_teacher_weights": True,
    }
    made = TeacherStudentModelFactory()
    parts = {"teacher_model": teacher, "student_model": student}
    configure(made, {**parts, **settings, **kwargs})
    return made


def features(model, name):
    return tf.keras.Model(model.inputs, model.get_layer(name).output)(PICTURES[:32]).numpy()


@pytest.mark.slow
def test_distillation_losses_are_those_of_taps_and_logits():
    teacher, student = renamed(small(binary="neither")), small()
    made = lesson(teacher, student)
    model = made.build()
    model.compile(loss=made.classification_loss, run_eagerly=True)
    logs = model.evaluate(PICTURES[:32], LABELS[:32], 32, verbose=0, return_dict=True)

    def attention(maps):
        energy = np.square(maps).mean(-1).reshape(32, -1)
        return energy / energy.max(-1, keepdims=True)

    pairs = [(features(teacher, f"teacher_{tap}"), features(student, tap)) for tap in TAPS]
    distances = [np.square(attention(a) - attention(b)).mean() for a, b in pairs]
    p, q = (
        tf.nn.softmax(features(net, name) / 4.0).numpy().astype(np.float64)
        for net, name in ((teacher, "teacher_head_logits"), (student, "head_logits"))
    )
    divergence = (p * np.log(p / q)).sum(-1).mean()
    truth = features(student, "head_probs")[np.arange(32), LABELS[:32]]
    np.testing.assert_allclose(logs["attention_loss"], 2 * np.mean(distances), rtol=1e-4)
    np.testing.assert_allclose(logs["output_matching_loss"], 3 * 4**2 * divergence, rtol=1e-3)
    rest = logs["loss"] - logs["attention_loss"] - logs["output_matching_loss"]
    np.testing.assert_allclose(rest, -0.5 * np.log(truth).mean(), rtol=1e-3)


def test_a_teacher_must_not_have_the_students_layer_names():
    made = lesson(small(binary="neither"), small())
    with pytest.raises(ValueError, match='name "stem_conv" is used 2 times'):
        made.build()


@pytest.mark.parametrize(
    ("names", "include_top", "message"),
    [
        (["prelu"], True, "one layer matching prelu in insta_resnet18, found 2"),
        (["stage2"], True, "one layer matching stage2 in insta_resnet18, found 0"),
        (TAPS, False, "one layer matching logits in insta_resnet18, found 0"),
    ],
)
def test_a_pattern_of_distillation_must_match_one_layer(names, include_top, message):
    model = small(include_top=include_top)
    made = lesson(model, model, attention_matching_volume_names=names)
    with pytest.raises(AssertionError, match=message):
        made.build()


def test_every_activation_and_the_logits_can_be_patterns():
    model = small("InstaMobileNetV1", filters=(4,) * 12, insta_blocks="all")
    patterns = [layer.name for layer in model.layers if layer.name.endswith("_prelu")]
    assert {"block1_spatial_prelu", "block11_spatial_prelu"} < set(patterns)
    for pattern in patterns:
        assert get_unique_layer_with_partial_name(model, pattern).name == pattern
    assert get_unique_layer_with_partial_name(model, "logits").name == "head_logits"


def test_a_teachers_weights_come_from_a_tensorflow_checkpoint(tmp_path):
    source = small(binary="neither")
    teacher = renamed(source)
    for weight in teacher.weights:
        weight.assign_add(tf.ones_like(weight))
    source.save_weights(path := str(tmp_path / "teacher"))
    lesson(teacher, source, initialize_teacher_weights_from=path).build()
    for ours, theirs in zip(source.get_weights(), teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("suffix", ["weights.h5", "h5", "keras"])
def test_a_teachers_weights_cannot_come_from_other_files(suffix, tmp_path):
    model = small(binary="neither")
    model.save_weights(path := str(tmp_path / f"teacher.{suffix}"))
    made = lesson(model, model, initialize_teacher_weights_from=path)
    # Keras's `load_weights` returns something for checkpoints alone.
    with pytest.raises(AttributeError, match="'NoneType' .* no attribute 'expect_partial'"):
        made.build()


class Phase(OnDigits, LarqZooModelTrainingPhase):
    model = ComponentField(TeacherStudentModelFactory, input_shape=(8, 8, 1))
    use_tensorboard = Field(False)


@component
class FloatWeights(Phase):
    stage = Field(0)
    optimizer = Field(lambda: tf.keras.optimizers.Adam(0.01))
    teacher_model = ComponentField(TeacherFactory, **SMALL, **ONE_STAGE)
    allow_missing_teacher_weights = Field(True)
    student_model = ComponentField(
        models.InstaResNet18Factory, **SMALL, **ONE_STAGE, binary="activations"
    )
    attention_matching_weight = Field(1.0)
    attention_matching_volume_names = Field(lambda: TAPS)
    output_matching_weight = Field(1.0)


@component
class BinaryWeights(Phase):
    stage = Field(1)
    # Keeps what it starts from, for a test to see.
    optimizer = Field(lambda: tf.keras.optimizers.SGD(0.0))
    student_model = ComponentField(models.InstaResNet18Factory, **SMALL, **ONE_STAGE)
    initialize_student_weights_from = Field("insta_resnet18")
    epochs = Field(1)
    validation_frequency = Field(2)


@component
class TwoSteps(MultiStageExperiment):
    stage_0 = ComponentField(FloatWeights)
    stage_1 = ComponentField(BinaryWeights)


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    """ReActNet's two steps as stages of Larq Zoo, the first with a teacher."""
    tf.keras.utils.set_random_seed(5)
    folder = tmp_path_factory.mktemp("two_steps")
    steps = TwoSteps()
    configure(steps, {"parent_output_dir": str(folder)})
    first, second = steps.stage_0, steps.stage_1
    networks = {"teacher": first.teacher_model, "student": first.student_model}
    before = {name: values(network) for name, network in networks.items()}
    with without_tracing():
        steps.run()
    return SimpleNamespace(
        **networks,
        before=before,
        history=first.model.history.history,
        final=second.student_model,
        file=str(folder / "models" / "insta_resnet18"),
    )


def test_distillation_moves_every_weight_of_the_student_alone(two_steps):
    assert not moved(two_steps.before["teacher"], values(two_steps.teacher))
    before = two_steps.before["student"]
    assert moved(before, values(two_steps.student)) == set(before)


@pytest.mark.parametrize("loss", ["attention_loss", "output_matching_loss"])
def test_distillation_brings_the_student_near_the_teacher(two_steps, loss):
    first, last = two_steps.history[loss]
    assert np.isfinite(first)
    assert 0 < last < first


def test_the_second_of_two_steps_starts_from_the_first(two_steps):
    assert not binary_kernels(two_steps.student)
    assert len(binary_kernels(two_steps.final)) == 2
    changed = moved(values(two_steps.student), values(two_steps.final))
    assert not changed & trainable(two_steps.final)


def test_the_last_student_is_a_tensorflow_checkpoint(two_steps):
    again = small()
    again.load_weights(two_steps.file)
    assert not moved(values(again), values(two_steps.final))


@pytest.mark.parametrize(
    ("name", "form"), [*((name, {}) for name in ARGUMENTS), ("InstaMobileNetV1", {"plus": True})]
)
def test_binary_kernels_are_all_that_bop_takes(name, form):
    model = small(name, **form)
    convolutions = [x for x in model.layers if isinstance(x, lq.layers.QuantConv2D)]
    taken = {weight.name for weight in binary_kernels(model)}
    assert taken == {f"{layer.name}/kernel:0" for layer in convolutions}


@pytest.fixture(scope="module")
def with_bop():
    """Two epochs of four updates from binary kernels, and what was after each."""
    tf.keras.utils.set_random_seed(4)
    with lq.context.metrics_scope(["flip_ratio"]):
        model = small()
    for kernel in binary_kernels(model):
        kernel.assign(np.where(kernel.numpy() < 0, -1.0, 1.0))
    optimizer = bop_and_adam()
    bop, adam = optimizer.optimizers
    model.compile(optimizer, LOSS)
    states, rates = [values(model)], []

    def note(batch, logs):
        states.append(values(model))
        rates.append([tf.keras.backend.get_value(x) for x in (bop.gamma, adam.learning_rate)])

    schedule = lq.callbacks.HyperparameterScheduler
    callbacks = [
        schedule(lambda epoch: 0.01 / 10**epoch, "gamma", bop),
        schedule(lambda step: 0.001 * (step + 1), "learning_rate", adam, update_freq="step"),
        tf.keras.callbacks.LambdaCallback(on_batch_end=note),
    ]
    fit = model.fit(PICTURES[:256], LABELS[:256], 64, epochs=2, verbose=0, callbacks=callbacks)
    return SimpleNamespace(model=model, states=states, rates=rates, history=fit.history)


@pytest.mark.slow
def test_under_bop_binary_kernels_flip_and_stay_binary(with_bop):
    for kernel in binary_kernels(with_bop.model):
        seen = np.stack([state[kernel.name] for state in with_bop.states])
        np.testing.assert_array_equal(np.abs(seen), 1)
        assert 0 < (seen[1:] != seen[:-1]).mean() < 0.5


def test_beside_bop_adam_moves_all_other_weights(with_bop):
    before, after = with_bop.states[:2]
    others = trainable(with_bop.model) - {k.name for k in binary_kernels(with_bop.model)}
    assert {"stem_conv/kernel:0", "stage1_block1_threshold/alpha:0"} <= others
    for name in others:
        # Adam's first update is the rate, 0.001, in every direction that has a gradient.
        step = np.abs(after[name] - before[name]).max()
        assert step == pytest.approx(0.001, rel=0.1), name


def test_schedules_of_bop_and_adam_are_kept(with_bop):
    gammas, rates = np.transpose(with_bop.rates)
    np.testing.assert_allclose(gammas, [0.01] * 4 + [0.001] * 4, rtol=1e-6)
    np.testing.assert_allclose(rates, 0.001 * np.arange(1, 9), rtol=1e-6)
    np.testing.assert_allclose(with_bop.history["gamma"], [0.01, 0.001], rtol=1e-6)
    np.testing.assert_allclose(with_bop.history["learning_rate"], [0.004, 0.008], rtol=1e-6)


def test_flip_ratio_of_binary_kernels_is_the_counted_one(with_bop):
    for layer in with_bop.model.layers:
        if isinstance(layer, lq.layers.QuantConv2D):
            seen = np.stack([state[f"{layer.name}/kernel:0"] for state in with_bop.states])
            flips = (seen[1:] != seen[:-1]).mean((1, 2, 3, 4))
            # Kernels are compared in forward passes, within an epoch.
            expected = [flips[:3].mean(), flips[4:7].mean()]
            logged = with_bop.history[layer.kernel_quantizer.flip_ratio.name]
            np.testing.assert_allclose(logged, expected, rtol=1e-5)
            assert 0 < logged[0] < 1


@pytest.mark.slow
def test_flip_ratio_of_float_kernels_is_always_zero():
    with lq.context.metrics_scope(["flip_ratio"]):
        model = small()
    model.compile(tf.keras.optimizers.Adam(0.1), LOSS, run_eagerly=True)
    before = values(model)
    history = model.fit(PICTURES[:96], LABELS[:96], 32, verbose=0).history
    after = values(model)
    for kernel in binary_kernels(model):
        assert (np.sign(before[kernel.name]) != np.sign(after[kernel.name])).any()
    # Larq rounds the quantized kernel, here +-mean |W| < 1, to whole numbers: to zeros.
    ratios = [value for name, value in history.items() if name.startswith("flip_ratio/")]
    assert ratios == [[0.0]] * 2


def test_bop_flips_where_the_gradient_says():
    model, threshold, x, y = small(), 1e-6, PICTURES[:64], LABELS[:64]
    for kernel in binary_kernels(model):
        kernel.assign(np.where(kernel.numpy() < 0, -1.0, 1.0))
    kernels = [kernel.numpy() for kernel in binary_kernels(model)]
    with tf.GradientTape() as tape:
        loss = tf.keras.losses.SparseCategoricalCrossentropy()(y, model(x, training=True))
    gradients = tape.gradient(loss, binary_kernels(model))
    model.compile(bop_and_adam(threshold), LOSS, run_eagerly=True)
    model.train_on_batch(x, y)
    for kernel, before, gradient in zip(binary_kernels(model), kernels, gradients, strict=True):
        signal = 0.01 * gradient.numpy() * before
        clear = np.abs(signal - threshold) > 1e-9
        flipped = kernel.numpy() == -before
        assert 0 < flipped.mean() < 1
        np.testing.assert_array_equal(flipped[clear], (signal > threshold)[clear])


def test_bop_makes_float_kernels_binary_in_one_update():
    model = small()
    model.compile(bop_and_adam(), LOSS, run_eagerly=True)
    assert all(np.abs(kernel.numpy()).max() != 1 for kernel in binary_kernels(model))
    model.train_on_batch(PICTURES[:64], LABELS[:64])
    for kernel in binary_kernels(model):
        np.testing.assert_array_equal(np.abs(kernel.numpy()), 1)


@pytest.mark.parametrize("binary", ["activations", "neither"])
def test_bop_finds_nothing_in_a_model_with_float_weights(binary):
    model = small(binary=binary)
    assert not binary_kernels(model)
    model.compile(bop_and_adam(), LOSS, run_eagerly=True)
    with pytest.raises(ValueError, match="Bop object .* did not claim any variables"):
        model.train_on_batch(PICTURES[:8], LABELS[:8])


def test_a_keras_optimizers_rate_can_be_scheduled_too():
    model, seen = small("ReActNet18"), []
    model.compile(tf.keras.optimizers.Adam(), LOSS, run_eagerly=True)
    halve = lq.callbacks.HyperparameterScheduler(
        lambda step: 0.01 / 2**step, "learning_rate", update_freq="step"
    )
    note = tf.keras.callbacks.LambdaCallback(
        on_batch_end=lambda batch, logs: seen.append(float(model.optimizer.learning_rate))
    )
    model.fit(PICTURES[:64], LABELS[:64], 64, epochs=3, verbose=0, callbacks=[halve, note])
    np.testing.assert_allclose(seen, [0.01, 0.005, 0.0025], rtol=1e-6)


@pytest.fixture(scope="module")
def updated():
    tf.keras.utils.set_random_seed(6)
    model = small()
    model.compile(tf.keras.optimizers.Adam(0.01), LOSS, run_eagerly=True)
    model.train_on_batch(PICTURES[:64], LABELS[:64])
    return model


@pytest.mark.quick(1)
@pytest.mark.parametrize("suffix", ["keras", "h5", "weights.h5"])
def test_a_file_saved_in_quantized_scope_holds_binary_weights(suffix, updated, tmp_path):
    path = str(tmp_path / f"model.{suffix}")
    with lq.context.quantized_scope(True):
        (updated.save_weights if suffix == "weights.h5" else updated.save)(path)
    load = tf.keras.models.load_model
    loaded = small(weights=path) if suffix == "weights.h5" else load(path)
    for ours, theirs in zip(binary_kernels(updated), binary_kernels(loaded), strict=True):
        scale = np.abs(ours.numpy()).mean((0, 1, 2))
        expected = np.where(ours.numpy() < 0, -scale, scale)
        np.testing.assert_allclose(theirs.numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(loaded(PICTURES[:64]), updated(PICTURES[:64]), rtol=1e-5)


def test_case_optimizer_refuses_keras_optimizers():
    legacy, keras = tf.keras.optimizers.legacy.Adam(), tf.keras.optimizers.Adam()
    with pytest.raises(TypeError, match=r"Expected `tf.keras.optimizers.legacy.Optimizer` at"):
        CaseOptimizer((Bop.is_binary_variable, keras), default_optimizer=legacy)
    with pytest.raises(TypeError, match="Expected `Optimizer` for `default_optimizer`"):
        CaseOptimizer((Bop.is_binary_variable, Bop()), default_optimizer=keras)


def test_a_loaded_case_optimizer_trains_nothing_until_compiled_again(tmp_path):
    model = small("ReActNet18")
    model.compile(bop_and_adam(), LOSS, run_eagerly=True)
    model.train_on_batch(PICTURES[:64], LABELS[:64])
    model.save(path := tmp_path / "model.keras")
    loaded = tf.keras.models.load_model(path)
    loaded.run_eagerly = True

    def changes():
        before = [weight.numpy() for weight in loaded.trainable_weights]
        loaded.train_on_batch(PICTURES[:64], LABELS[:64])
        pairs = zip(before, loaded.trainable_weights, strict=True)
        return [(a != b.numpy()).any() for a, b in pairs]

    # Its record of who trains what is by ids that no other process, nor model, has.
    assert not any(changes())
    loaded.compile(bop_and_adam(), LOSS, run_eagerly=True)
    assert all(changes())


def test_keras_learning_rate_scheduler_refuses_case_optimizer():
    model = small()
    model.compile(bop_and_adam(), LOSS)
    scheduler = tf.keras.callbacks.LearningRateScheduler(lambda epoch: 0.1)
    with pytest.raises(ValueError, match='Optimizer must have a "lr" attribute'):
        model.fit(PICTURES[:8], LABELS[:8], verbose=0, callbacks=[scheduler])


@pytest.mark.parametrize(
    "optimizer", [bop_and_adam, tf.keras.optimizers.legacy.Adam], ids=["case", "legacy"]
)
def test_larq_zoos_experiments_refuse_legacy_optimizers(optimizer, tmp_path):
    train = keras_experiment("InstaResNet18", tmp_path, {"optimizer": optimizer()})
    with pytest.raises(TypeError, match="'optimizer' .* is annotated with type .* not satisfied"):
        train.run()


def test_train_quicknet_builds_an_optimizer_that_larq_refuses(tmp_path):
    train = on_digits(TrainQuickNet, tmp_path)
    with pytest.raises(TypeError, match="legacy.Optimizer` at .* got .*keras.src.optimizers.adam"):
        train.run()


@component
class TrainLikeQuickNet(TrainQuickNet):
    # `Any`, as the inherited type refuses legacy optimizers.
    optimizer: Any = Field(
        lambda self: CaseOptimizer(
            (Bop.is_binary_variable, tf.keras.optimizers.legacy.Adam(self.schedule(0.01))),
            default_optimizer=tf.keras.optimizers.legacy.SGD(self.schedule(0.1), momentum=0.9),
        )
    )

    def schedule(self, rate):
        return CosineDecayWithWarmup(rate, self.steps_per_epoch, 2 * self.steps_per_epoch)


def test_train_quicknet_trains_ours_with_legacy_optimizers(tmp_path):
    train = on_digits(TrainLikeQuickNet, tmp_path, epochs=1, batch_size=64)
    before = values(train.model)
    with without_tracing():
        train.run()
    assert moved(before, values(train.model)) >= trainable(train.model)


def test_train_birealnets_linear_cosine_decay_is_gone(tmp_path):
    train = on_digits(TrainBiRealNet, tmp_path, decay_schedule="linear_cosine")
    with pytest.raises(AttributeError, match="no attribute 'LinearCosineDecay'"):
        train.run()


def test_train_binary_densenet_takes_densenets_alone(tmp_path):
    with pytest.raises(TypeError, match="'model' .*BinaryDenseNet'>', which is not satisfied"):
        on_digits(TrainBinaryDenseNet28, tmp_path)
