"""The wheel for 64-bit ARM at work: in a Debian of it under QEMU, compared with this machine.

    LARQ_INSTA_ARM_ROOT=FOLDER python -m pytest -n 0 -m arm tests/runtime/test_arm.py

FOLDER is such a system's root, with `ai-edge-litert`, NumPy, Pillow and flatbuffers in `/venv`,
and QEMU in the kernel's binfmt_misc; `chroot` needs to be root. `ziglang` and `build` compile and
pack the wheel. QEMU can count instructions (Debian's `qemu-user`), but not time.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lce_files import conversion, convolution, pooling

from larq_insta import models
from larq_insta.conversion import lowering
from larq_insta_runtime.engine import Interpreter
from larq_insta_runtime.parts import random_inputs

pytestmark = pytest.mark.arm
ROOT = Path(__file__).parents[2]

RUN = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from larq_insta_runtime import kernels, load_delegate

assert kernels() == ["neon", "portable"], kernels()
for name in kernels():
    for number in range(int(sys.argv[1])):
        known = np.load(f"/larq/{number}.npz")
        delegate = load_delegate({"kernels": name})
        reader = Interpreter(f"/larq/{number}.tflite", experimental_delegates=[delegate])
        reader.allocate_tensors()
        reader.set_tensor(reader.get_input_details()[0]["index"], known["given"])
        reader.invoke()
        found = reader.get_tensor(reader.get_output_details()[0]["index"])
        np.testing.assert_array_equal(found, known["wanted"], f"{name} {number}")
    print(name, sys.argv[1], "files are equal")
"""

ANSWER = """
import sys
import numpy as np
from larq_insta_runtime.engine import Interpreter
reader = Interpreter(open("/larq/whole.tflite", "rb").read())
np.save("/larq/whole.npy", reader.run([np.load("/larq/given.npy")])[0])
"""


@pytest.fixture(scope="module")
def arm(tmp_path_factory):
    """The system's root, with the wheel installed; its folder `/larq` is for the tests."""
    given = os.environ.get("LARQ_INSTA_ARM_ROOT")
    if not given:
        pytest.fail("LARQ_INSTA_ARM_ROOT must be the root of a 64-bit ARM Debian")
    root = Path(given)
    shutil.rmtree(root / "larq", ignore_errors=True)
    (root / "larq").mkdir()
    wheels = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, ROOT / "runtime/wheels.py", "--output", wheels, "linux-aarch64"]
    subprocess.run(command, check=True)
    download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", wheels, "click"]
    subprocess.run(download, check=True)
    for wheel in wheels.glob("*.whl"):
        shutil.copy(wheel, root / "larq")
        run(
            root,
            "/venv/bin/pip",
            "install",
            "-q",
            "--no-deps",
            "--force-reinstall",
            f"/larq/{wheel.name}",
        )
    return root


def run(root, *command):
    done = subprocess.run(["chroot", root, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(rng):
    """Files of all operators and kinds of output, with odd and even channels."""
    kinds = [
        {"output": "float"},
        {"output": "float", "activation": 1, "strides": (2, 2)},
        {"output": "float", "pad_values": 0, "window": (5, 3)},
        {"output": "int8", "scale": 0.3, "zero_point": -5},
        {"output": "bits", "padding": "valid", "dilations": (2, 1)},
        {"output": "float", "groups": 2},
    ]
    for kind in kinds:
        for channels, filters in ((64, 33), (128, 64), (192, 7)):
            yield convolution(
                rng, shape=(2, 9, 7, channels), filters=filters * kind.get("groups", 1), **kind
            )
    # More words than are counted at once.
    yield convolution(rng, shape=(1, 2, 3, 132_000), filters=20, window=(1, 1))
    for channels in (1, 31, 100, 130):
        yield convolution(rng, shape=(1, 8, 8, channels), filters=channels)
        yield pooling(shape=(1, 9, 8, channels), window=(3, 2), strides=(2, 1), padding="same")
        yield conversion(shape=(1, 3, 5, channels), dtype=np.float32)
        yield conversion(shape=(1, 3, 5, channels), dtype=np.int8, scale=0.2, zero_point=7)


def test_operators_give_the_same_bits(arm, rng):
    """As on this machine, where `test_operators.py` compares them with the engine's."""
    contents = list(files(rng))
    for number, content in enumerate(contents):
        (given,) = random_inputs(content)
        (wanted,) = Interpreter(content).run([given])
        (arm / "larq" / f"{number}.tflite").write_bytes(content)
        np.savez(arm / "larq" / f"{number}.npz", given=given, wanted=wanted)
    output = run(arm, "/venv/bin/python", "-c", RUN, str(len(contents)))
    assert [line.split()[0] for line in output.splitlines()] == ["neon", "portable"]


def test_the_command_says_the_same(arm):
    shutil.copy(ROOT / "docs/boot.png", arm / "larq")
    output = run(arm, "/venv/bin/larq-insta-run", "predict", "fashion_mnist", "/larq/boot.png")
    assert output == "/larq/boot.png: Ankle boot 99.7%, Sneaker 0.2%, Sandal 0.0%\n"


def test_a_whole_network_answers_the_same(arm):
    content = lowering.lower_as_trained(models.InstaResNet18())
    (given,) = random_inputs(content)
    (arm / "larq" / "whole.tflite").write_bytes(content)
    np.save(arm / "larq" / "given.npy", given)
    run(arm, "/venv/bin/python", "-c", ANSWER)
    found, wanted = np.load(arm / "larq" / "whole.npy"), Interpreter(content).run([given])[0]
    assert found.argmax() == wanted.argmax()
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6)


def test_instructions_are_the_same_each_time(arm, tmp_path):
    (tmp_path / "network.tflite").write_bytes(lowering.lower_as_trained(models.InstaResNet18()))
    command = [sys.executable, ROOT / "benchmarks/instructions.py", tmp_path / "network.tflite"]
    first, again = (
        json.loads(subprocess.check_output([*command, "--root", arm, "--json"]))["files"][0]
        for _ in range(2)
    )
    assert first["instructions"] == pytest.approx(again["instructions"], rel=1e-4)
    assert sum(first["kinds"].values()) == first["instructions"]
    assert first["kinds"]["binary convolutions"] > 0.1 * first["instructions"]
