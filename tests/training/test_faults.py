"""Kills, full and read-only disks, vanishing folders and Ctrl-C, on real processes.

LARQ_INSTA_KILLS is how often each command is killed; a long run has 20.
"""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import log

from larq_insta import data, runtime
from larq_insta.checkpoints import keras_files
from larq_insta_runtime import writing

pytestmark = pytest.mark.long

KILLS = int(os.environ.get("LARQ_INSTA_KILLS", "3"))
PROGRAM = (sys.executable, "-m", "larq_insta")
TRAIN = (
    "train", "InstaResNet18", "--filters", "4", "--insta-blocks", "all",
    "--steps", "activations,both", "--epochs", "4", "--batch-size", "100", "--output",
)  # fmt: skip
PATIENCE = 120


def start(*arguments, **kwargs):
    return subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"},
        **kwargs,
    )


def end(process):
    """Exit code and the lines that the user sees of an error."""
    try:
        _, errors = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors
    return process.returncode, [x for x in errors.splitlines() if x.startswith("Error: ")]


def succeed(*arguments):
    begin = time.monotonic()
    process = start(*arguments)
    code, lines = end(process)
    assert (code, lines) == (0, [])
    return time.monotonic() - begin


def fails_in_one_line(process, words):
    code, lines = end(process)
    assert code == 2
    assert len(lines) == 1
    assert words in lines[0]


def wait_until(process, condition):
    limit = time.monotonic() + PATIENCE
    while not condition() and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    if not condition():
        process.kill()
        raise AssertionError(process.communicate()[1])


def kill_at(moment, *arguments):
    """Starts a command and kills it after so many seconds; whether it still ran."""
    process = start(*arguments)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def moments(seed, seconds):
    return np.random.default_rng(seed).uniform(0.0, seconds, KILLS)


def names(folder):
    """Of all files; those of TensorBoard carry a time and a process."""
    paths = {path.relative_to(folder) for path in folder.rglob("*")}
    return {str(p.parent / p.suffix if p.name.startswith("events") else p) for p in paths}


def assert_same_runs(a, b):
    for file in ("best.keras", "last.keras", "step1/best.keras", "step1/last.keras"):
        found, expected = (keras_files.load(x / file).get_weights() for x in (a, b))
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_array_equal(x, y)
    for step in ("", "step1"):
        assert log(a / step) == log(b / step)
    assert names(a) == names(b)


def predicts(path):
    """Whether a file is whole."""
    card = runtime.open_model(path).card
    size = (1, card.preprocessing.size, card.preprocessing.size, card.preprocessing.channels)
    answer = runtime.open_model(path).predict(np.zeros(size, np.float32))
    return answer.sum() == pytest.approx(1, abs=1e-3)


def partial(folder):
    return list(folder.rglob(f"{writing.PARTIAL}*"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A training of two steps, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    return folder, succeed(*TRAIN, folder)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A small checkpoint as those of the published ReActNets."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    import reactnet_torch

    made = reactnet_torch.randomize(reactnet_torch.ResNet((8, 16), 1000, 2, False), 0)
    path = tmp_path_factory.mktemp("published") / "model_best.pth.tar"
    torch.save({"state_dict": made.state_dict()}, path)
    return path


def importing(published, target):
    narrow = ("--filters", "8,16", "--image-size", "64")
    return "import-weights", published, "InstaResNet18", target, *narrow


def converting(undisturbed, target):
    return "convert", undisturbed[0] / "best.keras", target


@pytest.fixture
def mounted(tmp_path):
    """Mounts a file system of so many kilobytes in memory, if that is allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting is not permitted: {done.stderr.strip()}")
        return folder

    yield mount
    subprocess.run(["umount", str(folder)], capture_output=True, check=False)


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def test_a_training_killed_at_random_moments_ends_as_an_undisturbed_one(undisturbed, tmp_path):
    folder, seconds = undisturbed
    target = tmp_path / "run"
    killed = [kill_at(moment, *TRAIN, target) for moment in moments(1, seconds)]
    assert any(killed)
    succeed(*TRAIN, target)
    assert_same_runs(target, folder)


@pytest.mark.parametrize("command", ["convert", "import-weights"])
def test_a_file_is_absent_or_whole_whenever_its_writer_is_killed(
    command, undisturbed, published, tmp_path
):
    (tmp_path / "calm").mkdir()
    make, given, name = (
        (converting, undisturbed, "x.tflite")
        if command == "convert"
        else (importing, published, "x.keras")
    )
    seconds = succeed(*make(given, tmp_path / "calm" / name))
    target = tmp_path / "killed" / name
    # Files are written at the end: half of the kills strike there.
    spread = moments(2, seconds)
    spread[::2] = seconds * (0.9 + 0.1 * spread[::2] / seconds)
    killed = []
    for moment in spread:
        killed.append(kill_at(moment, *make(given, target)))
        assert not target.exists() or predicts(target)
    assert any(killed)
    succeed(*make(given, target))
    assert predicts(target)
    assert names(target.parent) == names(tmp_path / "calm")


def test_a_killed_writers_folder_is_removed_and_a_living_ones_is_not(tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from larq_insta_runtime.writing import written_whole
with written_whole(Path(sys.argv[1])) as path:
    path.write_text("torn")
    print("begun", flush=True)
    sys.stdin.read()
"""
    target = tmp_path / "x.txt"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(target)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdout.readline() == "begun\n"
    writers[0].kill()
    writers[0].communicate()
    assert len(partial(tmp_path)) == 2
    with writing.written_whole(target) as path:
        path.write_text("whole")
    assert target.read_text() == "whole"
    assert len(partial(tmp_path)) == 1
    writers[1].communicate()
    assert writers[1].returncode == 0
    assert target.read_text() == "torn"
    assert not partial(tmp_path)


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_a_training_on_a_full_disk_goes_on_when_there_is_room(share, undisturbed, mounted):
    needed = sum(path.stat().st_size for path in undisturbed[0].rglob("*"))
    disk = mounted(f"size={share * needed:.0f}")
    target = disk / "run"
    fails_in_one_line(start(*TRAIN, target), "make room")
    assert not partial(disk)
    kept = list(target.rglob("*.keras"))
    assert all(map(predicts, kept))
    assert kept or share < 0.5
    remount(disk, "size=20m")
    succeed(*TRAIN, target)
    assert_same_runs(target, undisturbed[0])


@pytest.mark.parametrize("command", ["convert", "import-weights"])
def test_a_file_on_a_full_disk_leaves_the_one_before(command, undisturbed, published, mounted):
    disk = mounted("size=60k")
    make, given, name = (
        (converting, undisturbed, "x.tflite")
        if command == "convert"
        else (importing, published, "x.keras")
    )
    before = disk / name
    before.write_bytes(b"the one before")
    (disk / "ballast").write_bytes(bytes(48 * 1024))
    fails_in_one_line(start(*make(given, before)), "make room")
    assert before.read_bytes() == b"the one before"
    assert not partial(disk)
    remount(disk, "size=20m")
    succeed(*make(given, before))
    assert predicts(before)


def limited():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))


def test_files_that_may_not_grow_are_one_clear_line(tmp_path):
    process = start(*TRAIN, tmp_path / "run", preexec_fn=limited)
    fails_in_one_line(process, "make room")
    assert not list(tmp_path.rglob("*.keras"))
    assert not partial(tmp_path)


def test_a_read_only_folder_is_refused_before_anything_is_done(undisturbed, mounted):
    disk = mounted("size=1m")
    remount(disk, "ro")
    fails_in_one_line(start(*TRAIN, disk / "run"), "in a folder that can be written")
    process = start(*converting(undisturbed, disk / "x.tflite"))
    fails_in_one_line(process, "in a folder that can be written")


def test_a_disk_that_becomes_read_only_is_one_clear_line(undisturbed, mounted):
    disk = mounted("size=20m")
    target = disk / "run"
    process = start(*TRAIN, target)
    wait_until(process, (target / "step1" / "log.csv").exists)
    while subprocess.run(
        ["mount", "-o", "remount,ro", str(disk)], capture_output=True, check=False
    ).returncode:
        assert process.poll() is None  # busy while a file is open for writing
    fails_in_one_line(process, str(target))
    assert predicts(target / "step1" / "last.keras")
    remount(disk, "rw")
    succeed(*TRAIN, target)
    assert_same_runs(target, undisturbed[0])


def test_pictures_that_vanish_while_training_are_one_clear_line(folder, tmp_path):
    target = tmp_path / "run"
    options = ("--dataset", folder, "--image-size", "32", "--batch-size", "4", "--epochs", "500")
    process = start("train", "InstaResNet18", "--filters", "4,8", *options, "--output", target)
    wait_until(process, (target / "log.csv").exists)
    shutil.move(folder, tmp_path / "elsewhere")
    fails_in_one_line(process, "Every picture must be there")
    assert predicts(target / "last.keras")


def test_an_output_folder_that_vanishes_while_training_is_one_clear_line(tmp_path):
    target = tmp_path / "run"
    process = start(*TRAIN, target)
    wait_until(process, (target / "step1" / "log.csv").exists)
    target.rename(tmp_path / "elsewhere")
    fails_in_one_line(process, f"{target} was moved or removed")
    assert predicts(tmp_path / "elsewhere" / "step1" / "last.keras")
    assert not target.exists()


STOPS = {signal.SIGINT: (130, "Stopped by Ctrl-C"), signal.SIGTERM: (143, "Stopped by SIGTERM")}


def stops_at_once(process, number):
    code, words = STOPS[number]
    begin = time.monotonic()
    # To all processes of the command, as a terminal does.
    os.killpg(process.pid, number)
    found, lines = end(process)
    assert time.monotonic() - begin < 10
    assert found == code
    assert len(lines) == 1
    assert words in lines[0]


def test_a_stopped_training_can_be_resumed(undisturbed, tmp_path):
    target = tmp_path / "run"
    ready = {signal.SIGINT: target / "step1" / "log.csv", signal.SIGTERM: target / "log.csv"}
    for number, file in ready.items():
        process = start(*TRAIN, target, start_new_session=True)
        wait_until(process, file.exists)
        stops_at_once(process, number)
        assert not partial(target)
        assert predicts(file.with_name("last.keras"))
    succeed(*TRAIN, target)
    assert_same_runs(target, undisturbed[0])


@pytest.mark.parametrize("number", STOPS)
def test_a_stopped_conversion_leaves_nothing(number, undisturbed, tmp_path):
    moment = np.random.default_rng(int(number)).uniform(1.0, 5.0)
    process = start(*converting(undisturbed, tmp_path / "x.tflite"), start_new_session=True)
    time.sleep(moment)
    stops_at_once(process, number)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize("kind", ["checkpoint", "file"])
def test_stopped_predictions_end_at_once(kind, number, undisturbed, tmp_path):
    picture = tmp_path / "digit.png"
    image, _ = next(iter(data.load("digits").test.examples))
    picture.write_bytes(tf.io.encode_png(image).numpy())
    model = undisturbed[0] / "best.keras" if kind == "checkpoint" else "fashion_mnist"
    process = start("predict", model, *[picture] * 20_000, start_new_session=True)
    assert process.stdout.readline().startswith(str(picture))
    stops_at_once(process, number)
    limit = time.monotonic() + 5  # a helper of multiprocessing ends a moment later
    while running_in_session(process.pid) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not running_in_session(process.pid)


def running_in_session(session):
    """Processes that are left of a command."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its_session) == session and state != "Z":
            found.append(path.parent.name)
    return found
