"""Two steps, what they leave, and how a training goes on after faults."""

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
from conftest import (
    TINY,
    assert_same_weights,
    log,
    run,
    saved_weights,
    tiny,
    without_tracing,
)

from larq_insta import training
from larq_insta.checkpoints import keras_files
from larq_insta.training import resume, runs
from larq_insta.training.configuration import Configuration
from larq_insta.training.trainer import Trainer
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError

TWO_STEPS = Configuration(
    "InstaMobileNetV1",
    model_arguments={"filters": [4, 4], "insta_blocks": "all"},
    steps=("activations", "both"),
    epochs=(2, 3),
    weight_decay=(1e-5, 0.0),
    batch_size=200,
)


@pytest.fixture(scope="module")
def begun():
    """The weights with which each step of `two_steps` began."""
    return []


@pytest.fixture(scope="module")
def two_steps(begun, tmp_path_factory):
    """An undisturbed training of two steps."""
    folder, fit = tmp_path_factory.mktemp("two_steps") / "run", Trainer.fit

    def note(trainer, *args, **kwargs):
        named = keras_files.named_weights(trainer.student)
        begun.append({name: weight.numpy() for name, weight in named.items()})
        return fit(trainer, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", note)
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
    assert first.get_layer("block1_spatial_conv").kernel_quantizer is None


def test_the_second_step_begins_with_the_best_of_the_first(two_steps, begun):
    best, last = (two_steps / "step1" / f"{name}.keras" for name in ("best", "last"))
    expected = keras_files.named_weights(keras_files.load(best))
    assert expected.keys() == begun[1].keys()
    for name, weight in expected.items():
        np.testing.assert_array_equal(begun[1][name], weight, err_msg=name)
    with pytest.raises(AssertionError):
        assert_same_weights(best, last)


def test_the_last_update_is_not_wasted(two_steps):
    rates = [float(row["learning_rate"]) for row in log(two_steps)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(2.5e-3 / (3 * 6), rel=0.01)  # 6 updates an epoch


class Killed(Exception):  # noqa: N818
    pass


def kill(patch, owner, method, moment):
    """Ends a training at the so many-th call of a method."""
    original, calls = getattr(owner, method), []

    def die(*args):
        calls.append(args)
        if len(calls) == moment:
            raise Killed
        return original(*args)

    patch.setattr(owner, method, die)


KILLS = [
    # In the first step, before the second epoch's state is written; there again, after it is.
    (resume.States, "save", 2),
    (resume.Keeper, "publish", 2),
    # Before the second step begins; in its second epoch.
    (resume.Keeper, "publish", 2),
    (resume.States, "save", 2),
]


@pytest.mark.slow
def test_a_training_killed_at_all_moments_ends_as_an_undisturbed_one(two_steps, tmp_path):
    run, lines = tmp_path / "run", []
    for victim in KILLS:
        with pytest.MonkeyPatch.context() as patch:
            kill(patch, *victim)
            with pytest.raises(Killed):
                training.train(TWO_STEPS, run, lines.append)
    training.train(TWO_STEPS, run, lines.append)
    done = [re.search(r"step (\d) .* after epoch (\d)|$", line).groups() for line in lines]
    assert [x for x in done if x[0]] == [("1", "1"), *[("1", "2")] * 3, ("2", "1")]
    for file in ("best.keras", "last.keras", "step1/best.keras", "step1/last.keras"):
        assert_same_weights(two_steps / file, run / file)
    assert log(run) == log(two_steps)
    assert len(list((run / "tensorboard").iterdir())) == 3


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
def test_a_damaged_state_is_reported_and_the_one_before_used(two_steps, tmp_path):
    run, lines = tmp_path / "run", []
    shutil.copytree(two_steps, run)
    (run / "result.json").unlink()
    (damaged,) = (run / "state").glob("epoch-0003.data*")
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 255
    damaged.write_bytes(content)
    training.train(TWO_STEPS, run, lines.append)
    assert any("state after epoch 3 is damaged" in line for line in lines)
    assert any("going on after epoch 2" in line for line in lines)
    assert_same_weights(two_steps / "last.keras", run / "last.keras")


def test_only_damaged_states_are_an_error(two_steps, tmp_path):
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
        kernel = keeper.student.get_layer("block1_pointwise_conv").kernel
        kernel.assign_add(np.full(kernel.shape, np.nan))

    monkeypatch.setattr(resume.Keeper, "on_epoch_end", poison)
    static = Configuration(
        "ReActNetA", model_arguments={"filters": [4, 4]}, epochs=3, batch_size=300
    )
    with pytest.raises(InputError) as failure:
        training.train(static, tmp_path / "r")
    message = str(failure.value)
    assert "at update 5 (epoch 2)" in message
    assert "kernel of layer block1_pointwise_conv" in message
    assert f"{tmp_path / 'r' / 'last.keras'} of epoch 1" in message
    saved = saved_weights(tmp_path / "r" / "last.keras")
    assert all(np.isfinite(weight).all() for weight in saved.values())


@pytest.mark.slow
def test_the_command_line_reaches_both_steps_and_the_teacher(tmp_path):
    tiny("ReActNetA", binary="neither").save(tmp_path / "teacher.keras")
    options = [
        "--steps", "activations,both", "--epochs", "1,2", "--batch-size", 400, "--teacher",
        tmp_path / "teacher.keras", "--temperature", 2, "--hard-label-share", 0.5,
        "--attention-weight", 1, "--output", tmp_path / "run",
    ]  # fmt: skip
    with without_tracing():
        run("train", *TINY, *options)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["steps"] == ["activations", "both"]
    assert (config["epochs"], config["temperature"]) == ([1, 2], 2.0)
    assert len(log(tmp_path / "run")) == 2


@pytest.mark.slow
def test_kill_9_at_any_moment(tmp_path):
    options = ["--steps", "activations,both", "--epochs", "3", "--batch-size", "100", "--output"]
    command = ["train", *TINY, *options]
    run(*command, tmp_path / "whole")
    again = [sys.executable, "-m", "larq_insta", *command, tmp_path / "killed"]
    # In the first step and in the second.
    for epochs, pause in zip((1, 4), np.random.default_rng(3).uniform(0, 1, 2), strict=True):
        process = subprocess.Popen(again, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_for_epochs(tmp_path / "killed", epochs)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(again, check=True, capture_output=True)
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
        if sum(newest) >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"no {count} epochs in two minutes")
