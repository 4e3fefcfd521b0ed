"""Converted files in processes of their own."""

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from larq_insta import runtime
from larq_insta_runtime import packaged
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.pool import LitePool, TimedProcess

FILE = packaged.converted("fashion_mnist")


@pytest.fixture(scope="module")
def pool():
    return LitePool(FILE.read_bytes(), 2)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_it_answers_as_one_interpreter_does(pool, count, rng):
    images = rng.normal(size=(count, 28, 28, 1)).astype(np.float32)
    np.testing.assert_array_equal(pool.predict(images), runtime.LiteModel(FILE).predict(images))


def test_its_processes_need_no_tensorflow(pool, rng):
    pool.predict(rng.normal(size=(1, 28, 28, 1)).astype(np.float32))
    modules = "{'tensorflow', 'numpy'} & set(__import__('sys').modules)"
    assert pool._pool.submit(eval, modules).result() == {"numpy"}


def test_wrong_shapes_are_told(pool):
    with pytest.raises(InputError, match="LiteRT cannot run the model: "):
        pool.predict(np.zeros((1, 28, 27, 1), np.float32))


def test_what_is_no_model_is_told():
    with pytest.raises(InputError, match="LiteRT cannot load the model: "):
        LitePool(b"nothing", 1).predict(np.zeros((1, 28, 28, 1), np.float32))


def test_a_crash_is_told():
    pool = LitePool(FILE.read_bytes(), 1)
    pool._pool.submit(os._exit, 1)
    with pytest.raises(InputError, match="it crashed, or took longer"):
        pool.predict(np.zeros((1, 28, 28, 1), np.float32))


def test_what_hangs_is_ended_and_told():
    pool = LitePool(FILE.read_bytes(), 1)
    pool._pool.submit(signal.alarm, 1)
    pool._pool.submit(time.sleep, 60)
    start = time.monotonic()
    with pytest.raises(InputError, match="took longer than 600 seconds for a picture"):
        pool.predict(np.zeros((1, 28, 28, 1), np.float32))
    assert time.monotonic() - start < 30


def test_its_processes_end_with_a_parent_that_is_killed():
    code = """
import os, pathlib, signal, sys
from larq_insta_runtime.pool import LitePool
if __name__ == "__main__":
    pool = LitePool(pathlib.Path(sys.argv[1]).read_bytes(), 1)
    print(pool._pool.submit(os.getpid).result(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(FILE)], stdout=subprocess.PIPE, timeout=60, check=False
    )
    process = Path("/proc", done.stdout.decode().strip())
    limit = time.monotonic() + 10
    while process.exists() and process.joinpath("stat").read_text().split()[2] != "Z":
        assert time.monotonic() < limit
        time.sleep(0.1)


def test_a_closed_model_has_ended_its_processes(rng):
    model = runtime.LiteModel(FILE, 2)
    model.predict(rng.normal(size=(2, 28, 28, 1)).astype(np.float32))
    processes = list(model._interpreter._pool._processes.values())
    assert all(process.is_alive() for process in processes)
    model.close()
    assert [process.exitcode for process in processes] == [0, 0]


def test_a_file_is_timed():
    with closing(TimedProcess(FILE.read_bytes(), 1)) as process:
        first, later = process.first(), process.once()
        assert 0 < later < first
        assert 1e5 < process.memory() < 1e8


def test_a_crash_while_timing_is_told():
    with closing(TimedProcess(FILE.read_bytes(), 1)) as process:
        process._pool.submit(os._exit, 1)
        with pytest.raises(InputError, match="it crashed, or took longer"):
            process.once()


def test_models_take_processes(rng):
    images = rng.normal(size=(3, 28, 28, 1)).astype(np.float32)
    several = runtime.open_model(Path("fashion_mnist"), processes=2)
    np.testing.assert_array_equal(several.predict(images), runtime.LiteModel(FILE).predict(images))
