"""What a training says of its epochs, in lines and on a terminal."""

import re

import pytest
from conftest import without_tracing

from larq_insta import training
from larq_insta.training.configuration import Configuration
from larq_insta.training.progress import Progress
from larq_insta_runtime.errors import InputError

LOGS = {"loss": 0.25, "accuracy": 0.5}
STEPS = Configuration(
    "InstaMobileNetV1",
    model_arguments={"filters": [4, 4], "insta_blocks": "all"},
    steps=("activations", "both"),
    epochs=(1, 2),
    batch_size=400,
)


def go_through(progress, clock, epochs=3, updates=4, done=0):
    """As `fit` calls; an update takes 10 s, the first of each graph a minute more."""
    progress.set_params({"epochs": epochs, "steps": updates})
    progress.on_train_begin()
    for epoch in range(done, epochs):
        progress.on_epoch_begin(epoch)
        for batch in range(updates):
            clock[0] += 70 if (epoch, batch) == (done, 0) else 10
            progress.on_train_batch_end(batch, LOGS)
        progress.on_test_batch_end(0, LOGS)
        clock[0] += 60 if epoch == done else 0
        progress.on_epoch_end(epoch, LOGS)


def test_each_epoch_is_a_line_with_the_time_left(clock):
    said = []
    go_through(Progress(said.append), clock)
    assert said == [
        "Epoch 1/3: loss 0.2500, accuracy 0.5000, 3 min, 4 min left",  # graphs are in it
        "Epoch 2/3: loss 0.2500, accuracy 0.5000, 40 s, 40 s left",
        "Epoch 3/3: loss 0.2500, accuracy 0.5000, 40 s",
    ]


def test_time_left_is_that_of_later_steps_too(clock):
    said = []
    go_through(Progress(said.append, further=8), clock)
    assert [line.split(", ")[-1] for line in said[1:]] == ["2 min left", "80 s left"]


def test_a_training_that_goes_on_counts_what_is_done(clock):
    said = []
    go_through(Progress(said.append), clock, epochs=9, done=6)
    assert [line[:9] for line in said] == ["Epoch 7/9", "Epoch 8/9", "Epoch 9/9"]
    assert said[1].endswith(" 40 s left")


def test_a_terminal_shows_each_update(terminal, clock):
    with Progress(lambda _: None) as progress:
        go_through(progress, clock)
    written = terminal()
    assert "\rEpoch 2/3 [========........]  50%, 60 s left, loss 0.2500, acc" in written
    assert re.search(r"\rEpoch 2/3, batch 1 of validation +\r +\r", written)


def test_the_line_is_free_for_an_error(terminal):
    progress = Progress(lambda _: None)
    progress.set_params({"epochs": 1, "steps": 2})
    progress.on_train_begin()
    progress.on_epoch_begin(0)

    def fail():
        with progress:
            progress.on_train_batch_end(0, LOGS)
            raise InputError

    with pytest.raises(InputError):
        fail()
    assert re.search(r"50%, loss 0.2500, accuracy 0.5000\r +\r$", terminal())


def test_a_training_shows_the_time_left(terminal, tmp_path, capsys):
    said = []
    with without_tracing():
        training.train(STEPS, tmp_path / "run", said.append)
    written = terminal()
    assert re.search(r"\rEpoch 1/2 \[=+\.+\]  67%, \d+ s left, loss \d\.\d{4}, accuracy", written)
    assert re.search(r"\rTesting \[=+\.*\] +\d+%, \d+ s left", written)
    assert written.endswith(" \r")
    lines = [line for line in said if line.startswith("Epoch ")]
    assert ["left" in line for line in lines] == [True, True, False]
    assert all(re.search(r"val_loss \d+\.\d{4}, val_accuracy 0\.\d{4}, \d+ s", x) for x in lines)
    assert not capsys.readouterr().out
