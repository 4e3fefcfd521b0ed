"""A training belongs to its pictures, and its folder to one process."""

import errno
import fcntl
import json
import os
import shutil
from dataclasses import replace

import pytest
import tensorflow as tf
from conftest import FIXTURES, run, without_tracing

from larq_insta import data, training
from larq_insta.checkpoints import keras_files, networks
from larq_insta.data.identity import changes, identity
from larq_insta.training import preparing, runs, steps
from larq_insta.training.configuration import Configuration
from larq_insta_runtime import writing
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError

DIGITS = Configuration("ReActNet18", model_arguments={"filters": [4]}, epochs=1, batch_size=600)


def configured(folder, **changes):
    settings = {"dataset": str(folder), "image_size": 8, "batch_size": 7, "epochs": 2}
    return replace(DIGITS, **{**settings, **changes})


@pytest.fixture
def training_in(monkeypatch):
    """Begins a training that calls something instead of its only step."""

    def begin(configuration, output, instead=lambda: None, say=lambda _: None):
        def step(run, index, before):
            instead()
            return {}, output

        with monkeypatch.context() as patch:
            patch.setattr(steps._Run, "step", step)
            patch.setattr(steps._Run, "finish", lambda run, row: None)
            training.train(configuration, output, say)

    return begin


def renamed(folder):
    (folder / "cat").rename(folder / "tomcat")


def more(folder):
    for i in range(10):
        shutil.copy(folder / "cat" / "0.png", folder / "cat" / f"more{i}.png")


def fewer(folder):
    (folder / "dog" / "0.png").unlink()


def another(folder):
    (folder / "dog" / "0.png").rename(folder / "dog" / "00.png")


def swapped(folder):
    (folder / "dog").rename(folder / "x")
    (folder / "cat").rename(folder / "dog")
    (folder / "x").rename(folder / "cat")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (renamed, "the classes cat are gone; the classes tomcat are new"),
        (more, "train had 14 pictures, has 21; validation had 2 pictures, has 3; test had 4"),
        (fewer, "train had 14 pictures, has 13"),
        (another, "the list of files is another"),
        (swapped, "the list of files is another"),
    ],
)
def test_what_changed_is_told(folder, change, words):
    # Not of as many pictures, else two folders that are swapped look the same.
    (folder / "dog" / "9.JPG").rename(folder / "dog" / "09.JPG")
    before = identity(data.load(str(folder), image_size=8))
    change(folder)
    now = identity(data.load(str(folder), image_size=8))
    assert words in "; ".join(changes(before, now))


def test_what_did_not_change_is_not_told(folder, tmp_path):
    before = identity(data.load(str(folder), image_size=8))
    moved = shutil.move(folder, tmp_path / "elsewhere")
    (moved / "cat" / ".DS_Store").write_text("hidden")
    (moved / "cat" / "0.png").write_bytes((moved / "cat" / "2.png").read_bytes())  # repaired
    assert not changes(before, identity(data.load(str(moved), image_size=8)))
    assert before == json.loads(json.dumps(before))


def test_order_augmentation_and_preparation_are_told(folder):
    now = identity(data.load(str(folder), image_size=8))
    other = identity(data.load(str(folder), image_size=9, augmentation="none"))
    assert [words.partition(" was ")[0] for words in changes(now, other)] == [
        "preprocessing",
        "augmentation",
    ]
    turned = {**now, "class_names": now["class_names"][::-1]}
    assert changes(turned, now) == ["the classes have another order"]


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_training_does_not_go_on_with_other_pictures(folder, tmp_path, training_in):
    output, lines = tmp_path / "run", []
    training_in(configured(folder), output)
    kept = contents(output)
    more(folder)
    with pytest.raises(InputError, match=r"pictures and files it began with; .* train had 14"):
        training_in(configured(folder), output)
    assert contents(output) == kept
    for path in folder.glob("cat/more*"):
        path.unlink()
    training_in(configured(folder), output, say=lines.append)
    assert contents(output) == kept
    assert not any("began" in line for line in lines)


def test_a_training_does_not_go_on_with_another_teacher(tmp_path, training_in):
    digits = data.load("digits")
    path, output = tmp_path / "teacher.keras", tmp_path / "run"
    configuration = replace(DIGITS, teacher=str(path))

    def teach(seed):
        tf.keras.utils.set_random_seed(seed)
        inputs = tf.keras.Input((8, 8, 1))
        x = tf.keras.layers.Dense(10, "softmax")(tf.keras.layers.Flatten()(inputs))
        card = Card("x", {}, "digits", digits.class_names, digits.preprocessing)
        keras_files.save(tf.keras.Model(inputs, x), path, card)

    teach(0)
    training_in(configuration, output)
    training_in(configuration, output)
    teach(1)
    with pytest.raises(InputError, match="changed, .*teacher.keras is another: restore them"):
        training_in(configuration, output)


def test_a_training_of_0_1_0_goes_on_and_says_what_is_not_known(tmp_path, training_in):
    output, lines = tmp_path / "run", []
    shutil.copytree(FIXTURES / "0.1.0" / "run", output)
    before = json.loads((output / "config.json").read_text())
    arguments = before["model_arguments"]
    configuration = Configuration("InstaResNet18", model_arguments=arguments, epochs=(2,))
    for _ in range(2):
        training_in(configuration, output, say=lines.append)
    lines = [line for line in lines if "began with other versions" not in line]
    assert len(lines) == 1
    assert "began before lists of pictures were kept (0.1.0)" in lines[0]
    kept = json.loads((output / "config.json").read_text())
    assert not changes(kept["data"], identity(data.load("digits")))
    assert {k: kept[k] for k in before} | {"versions": before["versions"]} == before


@pytest.mark.slow
def test_the_augmentation_is_in_the_card_and_the_notes_are_said(folder, tmp_path):
    (folder / "cat" / "page.png").write_text("<html>")
    lines = []
    with without_tracing():
        training.train(configured(folder, epochs=1), tmp_path / "a", lines.append)
    assert Card.read(tmp_path / "a" / "last.keras").training["augmentation"] == "crops"
    assert sum(line.startswith(f"Left out of {folder}") for line in lines) == 1


def test_the_command_line_chooses_the_augmentation(folder, tmp_path, monkeypatch):
    chosen = []
    monkeypatch.setattr(training, "train", lambda configuration, *_: chosen.append(configuration))
    with pytest.raises(AttributeError):  # as nothing was trained
        run("train", "ReActNet18", "--augmentation", "none", "--output", tmp_path / "run")
    assert chosen[0].augmentation == "none"
    assert (
        preparing.load_data(
            chosen[0], networks.find(chosen[0].model), None, print
        ).augmentation.kind
        == "none"
    )


def test_there_must_be_pictures_to_train_on(folder, tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "test").symlink_to(folder)
    with pytest.raises(InputError, match="pictures to train on; .*0 to validate and 20 to test"):
        training.train(configured(tmp_path / "parts"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_process_trains_in_a_folder(tmp_path, training_in):
    output = tmp_path / "far" / "run"
    with writing.locked(output) as holds:
        assert holds
        with pytest.raises(InputError, match=r"One process at a time .*; process \d+ on .* does"):
            training.train(DIGITS, output)
    assert not (tmp_path / "far").exists()  # nothing was begun
    training_in(DIGITS, output)
    assert [path.name for path in output.iterdir()] == ["config.json"]


def test_others_are_kept_out_until_the_end(tmp_path, training_in):
    def refused():
        with pytest.raises(InputError, match="One process at a time"):
            training.train(DIGITS, tmp_path / "run")

    training_in(DIGITS, tmp_path / "run", refused)
    training_in(DIGITS, tmp_path / "run")


def test_what_a_killed_process_left_locks_nobody_out(tmp_path, training_in):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / writing._LOCK).write_text("process 1 on elsewhere")
    training_in(DIGITS, tmp_path / "run")
    assert not (tmp_path / "run" / writing._LOCK).exists()


@pytest.mark.parametrize("output", ["run", "far/away/run"])
def test_a_training_that_cannot_begin_leaves_nothing(tmp_path, output):
    with pytest.raises(InputError, match="Did you mean digits"):
        training.train(replace(DIGITS, dataset="digitz"), tmp_path / output)
    assert not list(tmp_path.iterdir())


def test_a_stopped_process_leaves_no_lock(tmp_path):
    with writing.locked(tmp_path):
        writing.remove_partial()
        assert not list(tmp_path.iterdir())


def test_a_lock_that_is_removed_while_waiting_is_made_anew(tmp_path, monkeypatch):
    original, path = fcntl.flock, tmp_path / writing._LOCK

    def late(lock, how):
        monkeypatch.setattr(fcntl, "flock", original)
        path.unlink()  # by the process before, which then ends
        original(lock, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with writing.locked(tmp_path):
        assert path.exists()
        with pytest.raises(InputError, match="One process"), writing.locked(tmp_path):
            pass


@pytest.mark.parametrize("network", [False, True])
def test_files_are_locked_near_and_far(tmp_path, monkeypatch, network):
    original, accesses = fcntl.flock, []

    def lock(file, how):
        access = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE
        if network and access == os.O_RDONLY:
            raise OSError(errno.EBADF, "as NFS says")
        accesses.append(access)
        original(file, how)

    monkeypatch.setattr(fcntl, "flock", lock)
    with writing.locked(tmp_path) as holds:
        assert holds
        with pytest.raises(InputError, match=r"; process \d+ on "), writing.locked(tmp_path):
            pass
    # Read only where that will do: disks cannot become so while a file is open for writing.
    assert set(accesses) == {os.O_RDWR if network else os.O_RDONLY}


def test_without_locks_it_is_said(tmp_path, monkeypatch, training_in):
    def missing(*_):
        raise OSError("no locks available")

    lines = []
    monkeypatch.setattr(fcntl, "flock", missing)
    training_in(DIGITS, tmp_path / "run", say=lines.append)
    assert lines[0].endswith("on a file system without locks: begin no other training in it.")


def test_workers_leave_the_lock_to_their_chief(tmp_path):
    with (
        runs.opened(DIGITS, tmp_path / "run", print, chief=True),
        runs.opened(DIGITS, tmp_path / "run", print, chief=False) as result,
    ):
        assert result is None
