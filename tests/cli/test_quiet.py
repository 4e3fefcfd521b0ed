"""What native libraries say: nothing on the way, everything if the process dies."""

import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from larq_insta.cli import sieve
from larq_insta.cli.program import Quiet
from larq_insta.cli.sieve import Sieve

LOGS = (
    b"2026-11-26 13:25:13.613410: I tensorflow/core/util/port.cc:113] oneDNN custom operations are "
    b"on.\n",
    b"2026-11-26 13:26:42.1: I tensorflow/core/platform/cpu_feature_guard.cc:210] This TensorFlow "
    b"binary is optimized\n",
    b"To enable the following instructions: AVX2, rebuild TensorFlow with the appropriate flags.\n",
    b"2026-11-26 13:25:15.660765: W tensorflow/compiler/tf2tensorrt/utils/py_utils.cc:38] TF-TRT\n",
    b"2026-11-26 13:25:15.660765: W tensorflow/core/framework/op_kernel.cc:1839] INVALID\n",
    b"\t [[{{node Assert}}]]\n",
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n",
    b"E0000 00:00:1795699602.116068   28688 cuda_dnn.cc:8579] Unable to register cuDNN factory\n",
    b"I0000 00:00:1795699496.734882   27481 device_compiler.h:186] Compiled cluster using XLA!\n",
    b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n",
)
WORDS = (
    b"Fatal Python error: Segmentation fault\n",
    b"malloc(): corrupted top size\n",
    b"INFO:root:of Python's own logging\n",
    b"ERROR: of TensorFlow Lite\n",
    b"  indented, behind nothing that was kept\n",
    b"\n",
)
FATAL = b"F0000 00:00:1795699602.116068   28688 array.cc:12] Check failed: n > 0\n"
PROGRAM = """
import importlib.util, os, sys, time, click
from larq_insta.cli.program import Script

@click.command()
@click.argument("way")
def command(way):
    importlib.util.find_spec("tensorflow")  # as an import does first
    os.write(2, sys.stdin.buffer.read())
    print(sys.stderr.isatty(), flush=True)
    if way == "abort":
        os.abort()
    if way == "wait":
        time.sleep(60)

Script(command)()
"""


def sieved(lines, level=3):
    passed = []
    taker = Sieve(level, passed.append)
    for line in lines:
        taker.take(line)
    return taker, passed


def through(capfd, text, *word):
    """What of a text, written by a library, arrives while TensorFlow is imported."""
    quiet = Quiet()
    quiet.find_spec("tensorflow")
    os.write(2, text)
    quiet.end(*word)
    return capfd.readouterr().err.encode()


@pytest.mark.parametrize("lines", [LOGS, *([line] for line in LOGS[:2] + LOGS[3:5] + LOGS[6:])])
def test_logs_are_kept_and_shown_when_asked_for(lines):
    taker, passed = sieved(lines)
    assert not passed
    taker.show()
    assert passed == [b"Native libraries had logged:\n" + b"".join(lines)]


def test_all_else_passes_as_it_is():
    assert sieved([*WORDS, *LOGS])[1] == list(WORDS)
    assert sieved([LOGS[-1], *WORDS[:4]])[1] == list(WORDS[:4])


def test_what_led_to_a_fatal_error_stands_before_it():
    assert sieved([*LOGS, FATAL])[1][1:] == [FATAL]
    assert b"cuDNN" in sieved([*LOGS, FATAL])[1][0]


@pytest.mark.parametrize(("level", "passing"), [(0, 10), (1, 5), (2, 1), (3, 0)])
def test_whoever_asks_for_logs_gets_them(level, passing):
    assert len(sieved(LOGS, level)[1]) == passing


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({}, False),
        ({"TF_CPP_MIN_LOG_LEVEL": "3"}, False),
        ({"TF_CPP_MIN_LOG_LEVEL": "0"}, True),
        ({"TF_CPP_VMODULE": "port=1"}, True),
    ],
)
def test_the_environment_decides(asked, shown, monkeypatch, capfd):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    every = [*LOGS, *WORDS]
    assert through(capfd, b"".join(every)) == b"".join(every if shown else WORDS)
    assert os.environ.get("TF_CPP_MIN_LOG_LEVEL") == asked.get("TF_CPP_MIN_LOG_LEVEL")


def test_what_was_kept_can_be_shown_at_the_end(capfd):
    written = through(capfd, LOGS[0] + b"no end of line", sieve.SHOW)
    assert written == b"no end of line\nNative libraries had logged:\n" + LOGS[0]
    os.write(2, LOGS[0])
    assert capfd.readouterr().err.encode() == LOGS[0]  # it has ended


@pytest.mark.parametrize(("error", "shown"), [(SystemExit(2), False), (ZeroDivisionError(), True)])
def test_errors_that_are_not_told_show_what_was_kept(error, shown, capfd):
    def fail():
        with Quiet() as quiet:
            quiet.find_spec("tensorflow")
            os.write(2, LOGS[0])
            raise error

    with pytest.raises(type(error)):
        fail()
    assert (LOGS[0].decode() in capfd.readouterr().err) == shown


def test_without_a_sieve_tensorflow_is_asked_itself(monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with Quiet() as quiet:
        quiet.find_spec("tensorflow")
        assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"


def start(way, stderr):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_CPP_")}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, way],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    process.stdin.write(b"".join([*LOGS, WORDS[0]]))
    process.stdin.close()
    process.stdin = None  # `communicate` would flush it
    return process


def test_a_process_that_dies_leaves_all_that_was_said():
    process = start("abort", subprocess.PIPE)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGABRT
    assert errors == WORDS[0] + b"Native libraries had logged:\n" + b"".join(LOGS)


def test_a_stop_is_told_alone_and_python_keeps_its_terminal():
    ours, theirs = pytest.importorskip("pty").openpty()
    process = start("wait", theirs)
    assert process.stdout.readline() == b"True\n"
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    process.stdout.close()
    os.close(theirs)
    written = b""
    with suppress(OSError):  # once nobody holds the other end
        while True:
            written += os.read(ours, 1 << 16)
    os.close(ours)
    lines = written.decode().split("\r\n")
    assert lines[0] == WORDS[0].decode().strip()
    assert lines[2].startswith("Error: Stopped by SIGTERM: the same command begins again, and a")
    assert lines[3:] == [""]


def test_importing_the_package_keeps_nothing_back():
    assert not any(isinstance(finder, Quiet) for finder in sys.meta_path)
