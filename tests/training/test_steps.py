"""One update, two steps, resumption, and what training says to wrong input."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import log, run

from larq_insta import models, training
from larq_insta.checkpoints import keras_files
from larq_insta.lite.card import Card
from larq_insta.lite.errors import InputError
from larq_insta.training import recipes, resume, runs
from larq_insta.training.configuration import Configuration
from larq_insta.training.trainer import NOT_FINITE, Trainer

TINY = {"input_shape": (8, 8, 1), "num_classes": 10, "stem": "small", "filters": (4, 8)}
TWO_STEPS = Configuration(
    "InstaResNet18",
    model_arguments={"filters": [4], "insta_blocks": "all"},
    steps=("activations", "both"),
    epochs=(2, 3),
    weight_decay=(1e-5, 0.0),
    batch_size=200,
)


def normalize(pictures):
    return tf.cast(pictures, tf.float32) / 127.5 - 1


def weights(path):
    return keras_files.load(path).get_weights()


def assert_same_weights(a, b):
    for x, y in zip(weights(a), weights(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture
def batch(rng):
    return tf.constant(rng.integers(0, 256, (16, 8, 8, 1)), tf.uint8), rng.integers(0, 10, 16)


def test_an_update_is_the_gradient_and_decay_of_kernels_of_convolutions(batch):
    model = models.InstaResNet18(**TINY, binary="activations")
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


def test_decay_spares_thresholds_biases_batch_norms_and_the_classifier():
    model = models.InstaMobileNetV1(**TINY, insta_blocks="all", plus=True)
    decayed = Trainer(model, normalize)._decayed
    names = {weight.name for weight in model.trainable_variables if weight.ref() in decayed}
    assert names == {f"{layer.name}/kernel:0" for layer in model.layers if "_conv" in layer.name}


@pytest.mark.slow
def test_an_update_that_is_not_finite_changes_nothing(batch):
    model = models.InstaResNet18(**TINY)
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
    model = models.ReActNet18(**TINY)
    before = model.get_weights()
    trainer = Trainer(model, normalize)
    trainer.compile(tf.keras.optimizers.Adam())
    loss, accuracy = trainer.test_on_batch(*batch)
    probabilities = model(normalize(batch[0])).numpy()
    assert loss == pytest.approx(-np.log(probabilities[np.arange(16), batch[1]]).mean(), rel=1e-4)
    assert accuracy == pytest.approx((probabilities.argmax(-1) == batch[1]).mean())
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_hand_over_is_all_or_nothing():
    source = models.ReActNet18(**TINY, binary="activations")
    target = models.ReActNet18(**TINY)
    keras_files.hand_over(source, target)
    for a, b in zip(source.get_weights(), target.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(InputError) as failure:
        keras_files.hand_over(source, models.InstaResNet18(**{**TINY, "filters": (4, 6)}))
    message = str(failure.value)
    assert "stage2_block2_threshold/alpha:0" in message.split("left over", maxsplit=1)[0]
    assert "left over: none" in message
    assert "head_logits/kernel:0 (8, 10) for (6, 10)" in message
    with pytest.raises(InputError, match=r"missing: none; left over: .*_threshold/alpha:0"):
        keras_files.hand_over(models.InstaResNet18(**TINY), target)


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    """An undisturbed training of two steps."""
    folder = tmp_path_factory.mktemp("two_steps") / "run"
    training.train(TWO_STEPS, folder)
    return folder


def test_both_steps_leave_their_files(two_steps):
    for folder, epochs in ((two_steps / "step1", 2), (two_steps, 3)):
        assert [row["epoch"] for row in log(folder)] == [str(e + 1) for e in range(epochs)]
        assert len(list((folder / "tensorboard").iterdir())) == epochs
    step1, step2 = (Card.read(f / "last.keras") for f in (two_steps / "step1", two_steps))
    assert step1.model_arguments == {**TWO_STEPS.model_arguments, "binary": "activations"}
    assert step2.model_arguments == TWO_STEPS.model_arguments
    first = keras_files.load(two_steps / "step1" / "last.keras")
    assert first.get_layer("stage1_block1_conv").kernel_quantizer is None


@pytest.mark.slow
def test_the_second_step_begins_with_the_best_of_the_first(two_steps, tmp_path):
    # With a rate of nearly nothing the second step stays where it began.
    training.train(replace(TWO_STEPS, learning_rate=(2.5e-3, 1e-30)), tmp_path / "run")
    first = keras_files.load(two_steps / "step1" / "best.keras").get_layer("head_logits").kernel
    assert_same_weights(two_steps / "step1" / "best.keras", tmp_path / "run/step1/best.keras")
    second = keras_files.load(tmp_path / "run" / "last.keras").get_layer("head_logits").kernel
    np.testing.assert_array_equal(first, second)


def test_the_last_update_is_not_wasted(two_steps):
    rates = [float(row["learning_rate"]) for row in log(two_steps)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(2.5e-3 / (3 * 6), rel=0.01)  # 6 updates an epoch


class Killed(Exception):  # noqa: N818
    pass


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["save", "publish"])
@pytest.mark.parametrize("moment", [1, 3])
def test_a_resumed_training_ends_as_an_undisturbed_one(
    two_steps, tmp_path, monkeypatch, victim, moment
):
    owner = {"save": resume.States, "publish": resume.Keeper}[victim]
    original, calls = getattr(owner, victim), []

    def die(*args):
        calls.append(args)
        if len(calls) == moment + 1:
            raise Killed
        return original(*args)

    monkeypatch.setattr(owner, victim, die)
    with pytest.raises(Killed):
        training.train(TWO_STEPS, tmp_path / "run")
    monkeypatch.undo()
    training.train(TWO_STEPS, tmp_path / "run")
    for file in ("best.keras", "last.keras", "step1/best.keras", "step1/last.keras"):
        assert_same_weights(two_steps / file, tmp_path / "run" / file)
    assert log(tmp_path / "run") == log(two_steps)
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 3


def test_what_a_killed_process_left_half_written_is_removed_in_every_step(two_steps, tmp_path):
    shutil.copytree(two_steps, tmp_path / "run")
    before = set(tmp_path.rglob("*"))
    for left in (".larq_insta-1", "step1/.larq_insta-2", "step1/state/epoch-0003_temp"):
        (tmp_path / "run" / left).mkdir()
        (tmp_path / "run" / left / "part").write_text("torn")
    training.train(TWO_STEPS, tmp_path / "run")
    assert set(tmp_path.rglob("*")) == before


def test_a_training_killed_at_its_first_file_can_begin_again(tmp_path):
    (tmp_path / "run" / ".larq_insta-1").mkdir(parents=True)
    runs.open_output(TWO_STEPS, tmp_path / "run", print)
    assert not list((tmp_path / "run").iterdir())
    (tmp_path / "run" / ".larq_insta-1").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="must be new or empty"):
        runs.open_output(TWO_STEPS, tmp_path / "run", print)
    assert len(list((tmp_path / "run").iterdir())) == 2


@pytest.mark.slow
def test_a_damaged_state_is_reported_and_the_one_before_used(two_steps, tmp_path, monkeypatch):
    original = resume.Keeper.publish

    def die(keeper):
        original(keeper)
        if len(keeper.states.history.rows) == 2 and keeper.folder.name == "run":
            raise Killed

    monkeypatch.setattr(resume.Keeper, "publish", die)
    with pytest.raises(Killed):
        training.train(TWO_STEPS, tmp_path / "run")
    monkeypatch.undo()
    (damaged,) = (tmp_path / "run" / "state").glob("epoch-0002.data*")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 255
    damaged.write_bytes(content)
    lines = []
    training.train(TWO_STEPS, tmp_path / "run", lines.append)
    assert any("state after epoch 2 is damaged" in line for line in lines)
    assert any("going on after epoch 1" in line for line in lines)
    assert_same_weights(two_steps / "last.keras", tmp_path / "run" / "last.keras")


def test_only_damaged_states_are_an_error(two_steps, tmp_path):
    import shutil

    shutil.copytree(two_steps, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    for index in (tmp_path / "run" / "state").glob("*.index"):
        index.write_bytes(b"")
    with pytest.raises(InputError, match="No state in .* is whole"):
        training.train(TWO_STEPS, tmp_path / "run")


def test_a_finished_training_is_not_repeated(two_steps):
    before = (two_steps / "best.keras").stat().st_mtime_ns
    lines = []
    result = training.train(TWO_STEPS, two_steps, lines.append)
    kept = json.loads((two_steps / "result.json").read_text())
    assert result.test_accuracy == kept["test_accuracy"]
    assert "holds the finished training" in lines[0]
    assert (two_steps / "best.keras").stat().st_mtime_ns == before


def test_other_values_do_not_go_on_in_the_same_folder(two_steps):
    with pytest.raises(InputError, match=r"epochs was \[2, 3\], is \[2, 4\]"):
        training.train(replace(TWO_STEPS, epochs=(2, 4)), two_steps)


def test_a_training_that_is_not_finite_names_update_layer_and_checkpoint(tmp_path, monkeypatch):
    original = resume.Keeper.on_epoch_end

    def poison(keeper, epoch, logs=None):
        original(keeper, epoch, logs)
        keeper.student.get_layer("stage1_block2_conv").kernel.assign_add(
            [[[[np.nan] * 4] * 4] * 3] * 3
        )

    monkeypatch.setattr(resume.Keeper, "on_epoch_end", poison)
    with pytest.raises(InputError) as failure:
        training.train(
            Configuration("ReActNet18", model_arguments={"filters": [4]}, epochs=3), tmp_path / "r"
        )
    message = str(failure.value)
    assert "at update 21 (epoch 2)" in message
    assert "kernel of layer stage1_block2_conv" in message
    assert f"{tmp_path / 'r' / 'last.keras'} of epoch 1" in message
    assert all(np.isfinite(weight).all() for weight in weights(tmp_path / "r" / "last.keras"))


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_can_be_used_and_is_described(name):
    Configuration.from_recipe(name, "InstaResNet18", {}).check()
    description = recipes.RECIPES[name].describe()
    assert f"--recipe {name}" in description or name == recipes.DEFAULT
    assert "source: " in description


def test_values_given_override_a_recipe():
    overrides = {"epochs": (7,), "teacher": None, "model_arguments": {"plus": True}}
    configuration = Configuration.from_recipe("small", "InstaResNet18", overrides)
    assert configuration.epochs == (7, 7)
    assert configuration.teacher is None
    assert configuration.model_arguments == {"filters": (16, 32, 64), "plus": True}
    assert configuration.weight_decay == (1e-5, 0.0)
    one_step = Configuration.from_recipe("small", "ReActNetA", {"steps": ("both",)})
    assert one_step.weight_decay == (0.0,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": ("weights",)}, "activations, both, neither; got weights"),
        ({"epochs": (1, 2, 3)}, "one value, or one for each of the 2 steps"),
        ({"epochs": (0,)}, "`epochs` must be at least 1; got 0"),
        ({"batch_size": 0}, "`batch_size` must be at least 1; got 0"),
        ({"learning_rate": (0.0,)}, "`learning_rate` must be positive; got 0.0"),
        ({"learning_rate": (float("nan"),)}, "`learning_rate` must be positive; got nan"),
        ({"weight_decay": (-1.0,)}, "`weight_decay` must be at least 0; got -1.0"),
        ({"temperature": 0.0}, "`temperature` must be positive; got 0.0"),
        ({"hard_label_share": 1.5}, "`hard_label_share` must be from 0 to 1; got 1.5"),
        ({"attention_weight": -1.0}, "`attention_weight` must be at least 0; got -1.0"),
        ({"seed": -1}, "`seed` must be at least 0 and below"),
    ],
)
def test_values_out_of_range_are_refused(change, words, tmp_path):
    with pytest.raises(InputError, match=re.escape(words)):
        training.train(replace(TWO_STEPS, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_command_line_reaches_both_steps_and_the_teacher(tmp_path):
    model = models.ReActNet18(**TINY, binary="neither")
    model.save(tmp_path / "teacher.keras")
    run(
        "train", "InstaResNet18", "--filters", "4,8", "--steps", "activations,both",
        "--epochs", "1,2", "--batch-size", 400, "--teacher", tmp_path / "teacher.keras",
        "--temperature", 2, "--hard-label-share", 0.5, "--attention-weight", 1,
        "--output", tmp_path / "run",
    )  # fmt: skip
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["steps"] == ["activations", "both"]
    assert (config["epochs"], config["temperature"]) == ([1, 2], 2.0)
    assert len(log(tmp_path / "run")) == 2


@pytest.mark.slow
def test_kill_9_at_any_moment(tmp_path):
    command = [
        sys.executable, "-m", "larq_insta", "train", "InstaResNet18", "--filters", "4",
        "--insta-blocks", "all", "--steps", "activations,both", "--epochs", "3",
        "--batch-size", "100", "--output",
    ]  # fmt: skip
    subprocess.run([*command, tmp_path / "whole"], check=True, capture_output=True)
    pauses = np.random.default_rng(3).uniform(0.1, 4.0, 4)
    for number, pause in enumerate(pauses):
        process = subprocess.Popen(
            [*command, tmp_path / "killed"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _wait_for_epochs(tmp_path / "killed", number + 1)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*command, tmp_path / "killed"], check=True, capture_output=True)
    for file in ("best.keras", "last.keras", "step1/best.keras", "step1/last.keras"):
        assert_same_weights(tmp_path / "whole" / file, tmp_path / "killed" / file)
    assert log(tmp_path / "killed") == log(tmp_path / "whole")
    assert not list((tmp_path / "killed").rglob(".larq_insta-*"))


def _wait_for_epochs(folder: Path, count: int) -> None:
    """Until so many epochs, of both steps together, have left a state."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        newest = [
            max((int(p.stem[-4:]) for p in (folder / s).glob("*.index")), default=0)
            for s in ("step1/state", "state")
        ]
        if sum(newest) >= min(count, 5):
            return
        time.sleep(0.05)
    raise AssertionError(f"no {count} epochs in two minutes")
