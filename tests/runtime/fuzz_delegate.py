"""Mutated files of Larq Compute Engine's operators for the delegate, as other processes load it.

    python tests/runtime/fuzz_delegate.py --mutations 2000 --sanitize

Options, shapes, types, constants and wiring of one operator, or of a network whose operators run
in passes, are changed; the delegate must refuse or compute, never crash. `--sanitize` compiles it
with AddressSanitizer and UndefinedBehaviorSanitizer (GCC) and runs it under them. A crash ends the
process; the number printed last is the mutation's, and `--first` begins there.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import lce_files
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType, load_delegate
from flatbuffers import flexbuffers

from larq_insta_runtime import delegate
from larq_insta_runtime.flatbuffer import operator_name, pack, unpack

NETWORK = delegate.library().parent / "trained" / "fashion_mnist.tflite"
IN_PASSES = (
    "ADD", "SUB", "MUL", "PRELU", "MINIMUM", "MAXIMUM", "SQUARED_DIFFERENCE", "MEAN",
    "DEPTHWISE_CONV_2D", "CONCATENATION", "LceQuantize", "LceBconv2d",
)  # fmt: skip
NATIVE = Path(__file__).parents[2] / "runtime" / "native"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
LENGTHS = (-1, 0, 1, 2, 7, 33, 64, 1000)
VALUES = (-(2**31), -1, 0, 1, 2, 3, 5, 31, 255, 65_536, 2**31 - 1, 2**40, 0.5, "x", None, [1, 2])


def in_passes():
    """The operators of a network that the delegate can run; what others make is given."""
    model = unpack(NETWORK.read_bytes())
    graph = model.subgraphs[0]
    names = [operator_name(code) for code in model.operatorCodes]
    graph.operators = [op for op in graph.operators if names[op.opcodeIndex] in IN_PASSES]
    made = {int(i) for op in graph.operators for i in op.outputs}
    read = {int(i) for op in graph.operators for i in op.inputs if i >= 0}
    constant = {i for i in read if model.buffers[graph.tensors[i].buffer].data is not None}
    graph.inputs, graph.outputs = sorted(read - made - constant), sorted(made - read)
    model.signatureDefs = None
    return pack(model)


def original(rng):
    """A file that is as it should be, of operators and settings that differ each time."""
    shape = (int(rng.integers(1, 3)), *(int(n) for n in rng.integers(3, 12, 2)), 64)
    window, strides = ([int(n) for n in rng.integers(1, 4, 2)] for _ in range(2))
    padding = str(rng.choice(["same", "valid"]))
    match int(rng.integers(8)):
        case 0 | 1 | 2:
            return CHAINS
        case 3:
            return lce_files.pooling(shape=shape, window=window, strides=strides, padding=padding)
        case 4:
            kinds = {np.float32: {}, np.int8: {"scale": 0.1, "zero_point": 3}, np.bool_: {}}
            kind = list(kinds)[int(rng.integers(3))]
            return lce_files.conversion(shape=shape, dtype=kind, **kinds[kind])
        case _:
            return lce_files.convolution(
                rng,
                shape=shape,
                filters=int(rng.choice([4, 32, 70])),
                window=window,
                strides=strides,
                padding=padding,
                groups=int(rng.integers(1, 3)) if rng.random() < 0.3 else 1,
                output=str(rng.choice(["float", "int8", "bits"])),
                scale=0.1,
            )


CHAINS = in_passes()


def mutated(content, rng):
    model = unpack(content)
    graph = model.subgraphs[0]
    for _ in range(int(rng.integers(1, 3))):
        operator = graph.operators[int(rng.integers(len(graph.operators)))]
        wires = [int(i) for i in (*operator.inputs, *operator.outputs) if i >= 0]
        tensor = graph.tensors[int(rng.choice(wires))]
        match int(rng.integers(7)):
            case 0 if operator.customOptions is not None and len(operator.customOptions):
                data = bytearray(bytes(operator.customOptions))
                data[int(rng.integers(len(data)))] = int(rng.integers(256))
                operator.customOptions = np.frombuffer(bytes(data), np.uint8)
            case 1 if operator.customOptions is not None and len(operator.customOptions):
                kept = int(rng.integers(len(operator.customOptions)))
                operator.customOptions = operator.customOptions[:kept]
            case 2 | 3 if operator.customOptions is not None and len(operator.customOptions):
                change_option(operator, rng)
            case 4 if len(tensor.shape):
                lengths = [int(n) for n in tensor.shape]
                lengths[int(rng.integers(len(lengths)))] = int(rng.choice(LENGTHS))
                tensor.shape = lengths[:-1] if rng.random() < 0.1 else lengths
            case 5:
                tensor.type = int(rng.choice(list(lce_files.TYPES.values())))
            case _ if len(operator.inputs):
                inputs = [int(i) for i in operator.inputs]
                inputs[int(rng.integers(len(inputs)))] = int(
                    rng.choice([-1, *range(len(graph.tensors))])
                )
                operator.inputs = inputs[:-1] if rng.random() < 0.2 else inputs
    return pack(model)


def change_option(operator, rng):
    try:
        options = flexbuffers.Loads(bytes(operator.customOptions))
    except Exception:  # noqa: BLE001  (changed before)
        return
    if isinstance(options, dict) and options:
        name = str(rng.choice(list(options)))
        options[name] = VALUES[int(rng.integers(len(VALUES)))]
        if rng.random() < 0.2:
            del options[name]
        operator.customOptions = np.frombuffer(bytes(flexbuffers.Dumps(options)), np.uint8)


def runs(content, library, options, rng):
    """Whether the delegate computes it."""
    try:
        interpreter = Interpreter(
            model_content=content,
            experimental_delegates=[load_delegate(library, options)],
            # XNNPACK itself crashes on some of what is left to it.
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
        for entry in interpreter.get_input_details():
            values = rng.integers(-100, 100, entry["shape"]).astype(entry["dtype"])
            interpreter.set_tensor(entry["index"], values)
        interpreter.invoke()
        for entry in interpreter.get_output_details():
            interpreter.get_tensor(entry["index"])
    except (RuntimeError, ValueError):
        return False
    return True


def attack(library, first, count):
    """How many mutations were computed; the rest was refused."""
    kernels, computed = delegate.kernels(), 0
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        content = mutated(original(rng), rng)
        print(number, end="\r", flush=True)
        options = {"kernels": kernels[number % len(kernels)], "num_threads": 1 + number % 2}
        computed += runs(content, library, options, rng)
    return computed


def sanitized(arguments):
    """Runs this script again, with the delegate compiled for it."""
    compiler = os.environ.get("CC", "gcc")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "liblarq_insta.so"
        sources = [str(path) for path in NATIVE.glob("*.c")]
        command = [compiler, "-std=gnu11", "-O1", "-g", "-fPIC", "-shared", "-ffp-contract=off"]
        subprocess.run(
            [*command, *SANITIZERS, *sources, "-o", str(library), "-lpthread", "-lm"], check=True
        )
        runtimes = [
            subprocess.check_output([compiler, f"-print-file-name={name}.so"], text=True).strip()
            for name in ("libasan", "libubsan")
        ]
        again = [sys.executable, __file__, "--library", str(library), *arguments]
        environment = os.environ | {
            "LD_PRELOAD": " ".join(runtimes),
            "ASAN_OPTIONS": "detect_leaks=0,allocator_may_return_null=1",
        }
        return subprocess.run(again, env=environment, check=False).returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--sanitize", action="store_true")
    parser.add_argument("--library")
    given = parser.parse_args()
    if given.sanitize:
        return sanitized(["--mutations", str(given.mutations), "--first", str(given.first)])
    computed = attack(given.library or str(delegate.library()), given.first, given.mutations)
    print(f"{given.mutations} mutations: {computed} computed, the others refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
