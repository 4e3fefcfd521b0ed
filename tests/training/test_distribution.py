"""One training by many processes."""

import json
import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from larq_insta import models
from larq_insta.checkpoints import keras_files
from larq_insta.training import distribution
from larq_insta_runtime.errors import InputError

SCRIPT = """
import sys
from pathlib import Path
from larq_insta import training
from larq_insta.training import distribution
from larq_insta.training.configuration import Configuration
if {unsynchronized}:
    distribution.synchronize_batch_norm = lambda model: None
training.train(
    Configuration(
        "InstaResNet18", model_arguments={{"filters": [4], "insta_blocks": "all"}},
        steps=("neither",), epochs=1, batch_size=400,
    ),
    Path(sys.argv[1]),
)
"""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("localhost", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def train(folder, workers, unsynchronized=False):
    """Weights after three updates of 400 digits each, shared by so many processes.

    Of the smooth form, as a sign turns the least rounding into another network.
    """
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(workers)]}
    processes = []
    for index in range(workers):
        task = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(task) if workers > 1 else ""}
        command = [sys.executable, "-c", SCRIPT.format(unsynchronized=unsynchronized), folder]
        processes.append(
            subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        )
    for process in processes:
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error[-3000:]
    layers = keras_files.load(folder / "last.keras").layers
    return {f"{layer.name}/{w.name}": w.numpy() for layer in layers for w in layer.weights}


@pytest.mark.slow
def test_two_workers_are_one_of_twice_the_batch(tmp_path):
    one, two = (train(tmp_path / str(workers), workers) for workers in (1, 2))
    for name, expected in one.items():
        # On one device Keras's fused kernel corrects the variance of 400 by 400 / 399.
        rtol = 4e-3 if "moving_variance" in name else 1e-3
        np.testing.assert_allclose(two[name], expected, rtol=rtol, atol=1e-4, err_msg=name)
    assert json.loads((tmp_path / "2" / "result.json").read_text())["epoch"] == 1
    # Without moments of the whole batch it is another training.
    apart = train(tmp_path / "apart", 2, unsynchronized=True)
    kernels = [name for name in one if "kernel" in name]
    assert max(np.abs(apart[name] - one[name]).max() for name in kernels) > 1e-3


def test_nested_batch_norms_are_synchronized_too():
    model = models.InstaResNet18(
        input_shape=(8, 8, 1),
        num_classes=10,
        stem="small",
        filters=(4,),
        plus=True,
        insta_blocks="all",
        reuse_statistics=False,
    )
    distribution.synchronize_batch_norm(model)
    layers = [x for x in model.submodules if isinstance(x, tf.keras.layers.BatchNormalization)]
    assert len(layers) == 1 + 3 * 4  # the stem's; each block's own, its threshold's and PReLU's
    assert all(layer.synchronized and not layer.fused for layer in layers)


def test_batches_must_be_shared_out_evenly():
    strategy = SimpleNamespace(num_replicas_in_sync=3)
    with pytest.raises(InputError, match="multiple of the 3 devices.*got 64: take 63"):
        distribution.check_batch_size(strategy, 64)


@pytest.mark.parametrize("config", ["{", "[]", '{"cluster": {"worker": []}}'])
def test_a_damaged_cluster_is_one_line(monkeypatch, config):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(InputError, match="TF_CONFIG must be JSON"):
        distribution.strategy()


@pytest.mark.parametrize(
    ("jobs", "kind", "index", "chief"),
    [
        (None, None, None, True),
        (["worker"], "worker", 0, True),
        (["worker"], "worker", 1, False),
        (["chief", "worker"], "chief", 0, True),
        (["chief", "worker"], "worker", 0, False),
    ],
)
def test_one_process_writes(jobs, kind, index, chief):
    resolver = None
    if jobs:
        spec = SimpleNamespace(as_dict=lambda: {job: ["a:1"] for job in jobs})
        resolver = SimpleNamespace(task_type=kind, task_id=index, cluster_spec=lambda: spec)
    strategy = SimpleNamespace(cluster_resolver=resolver)
    assert distribution.is_chief(strategy) is chief
