"""Executed instructions of converted files on 64-bit ARM, by larq-insta-runtime under QEMU.

    python benchmarks/instructions.py FILES --root FOLDER [--cpu CPU] [--no-fuse] [--no-xnnpack]

These are instructions, not times: processors execute several at once, wait for memory, and take
longer for some than for others. But they are the same each time (within 0.01 %), where there is no
board to time on. FOLDER is the root of a 64-bit ARM Debian with `ai-edge-litert` and NumPy in
`/venv`; of Debian 12 here, `qemu-user` runs it, and `cc` and `ziglang` compile what counts and what
is counted. One inference on one thread is counted, of random input, after a first one: threads
that wait would count by chance. The processor `max` has matrices (SME), which no board has.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from bisect import bisect
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

import click

HERE = Path(__file__).parent.resolve()
sys.path.append(str(HERE.parent / "runtime"))
import wheels  # noqa: E402

# What the processors call themselves, by which XNNPACK chooses; others are taken for the last.
PARTS = {"cortex-a53": 0xD03, "cortex-a72": 0xD08, "cortex-a76": 0xD0B}

# Between the marks, which `instructions.c` knows, nothing runs but the inference.
PROGRAM = """
import ctypes
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType, load_delegate

kind = "AUTO" if sys.argv[3] == "1" else "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
mark = ctypes.CDLL(None).syscall
mark.argtypes = [ctypes.c_long] * 2
for path in sys.argv[4:]:
    delegate = load_delegate(sys.argv[1], {"fuse": sys.argv[2]})
    reader = Interpreter(
        path,
        experimental_delegates=[delegate],
        num_threads=1,
        experimental_op_resolver_type=OpResolverType[kind],
    )
    reader.allocate_tensors()
    rng = np.random.default_rng(0)
    for given in reader.get_input_details():
        reader.set_tensor(given["index"], rng.normal(size=given["shape"]).astype(given["dtype"]))
    reader.invoke()
    mark(0x1A59, 0)
    reader.invoke()
    mark(0x1A59, 1)
print(open("/proc/self/maps").read())
"""

# Kinds of work by libraries and functions, the first that fits.
KINDS = {
    "binary convolutions": r"larq_insta (multiply$|differ$|count_differences|convol|lines_of|"
    r"surround|is_surrounded|places_outside)",
    "quantizations": r"larq_insta (pack|quantize_bytes)$",
    "operators between them": r"larq_insta (\w+_rows|sum_products|run_task|run_plan)$",
    "float convolutions and classifier": r" (xnn_\w+_(gemm|igemm|dwconv)_|"
    r"xnn_compute_(gemm|igemm|dw)|kai_|label_)",
    "XNNPACK's other operators": r" xnn_(\w+_ukernel|compute_)",
    "TensorFlow Lite, Python, and the rest": "",
}


def compile_plugin(folder: Path) -> Path:
    plugin = folder / "instructions.so"
    flags = ["-std=gnu11", "-O2", "-shared", "-fPIC", "-fvisibility=hidden"]
    subprocess.run(["cc", *flags, HERE / "instructions.c", "-o", plugin], check=True)  # noqa: S603, S607
    return plugin


def compile_library(folder: Path) -> Path:
    """As in the wheel, but with names of functions."""
    wheels.FLAGS = [flag for flag in wheels.FLAGS if flag != "-s"]
    return wheels.compile_library(wheels.PLATFORMS["linux-aarch64"], folder)


def make_system(root: Path, cpu: str, folder: Path) -> Path:
    """What QEMU shows instead of this machine's files: the root, and such a processor's names."""
    system = folder / "system"
    processors = system / "sys/devices/system/cpu"
    for made in (processors, system / "proc"):
        made.mkdir(parents=True)
    for name in ("usr", "lib"):
        (system / name).symlink_to(root / name)
    for name in ("possible", "present"):
        (processors / name).write_text("0-3\n")
    part = PARTS.get(cpu, PARTS["cortex-a76"])
    lines = (
        f"CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {part:#x}"
    )
    text = [f"processor\t: {number}\n{lines}\nCPU revision\t: 3\n" for number in range(4)]
    (system / "proc/cpuinfo").write_text("\n".join(text))
    return system


def run(
    root: Path, cpu: str, fuse: bool, xnnpack: bool, files: tuple[Path, ...]
) -> list[Counter[str]]:
    """Instructions of each file's inference, by names of libraries and functions."""
    (packages,) = root.glob("venv/lib/python3*/site-packages")
    python = root / "usr/bin" / packages.parent.name
    variables = {"PYTHONHOME": root / "usr", "PYTHONPATH": packages, "PYTHONHASHSEED": 0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        out = folder / "counts"
        command: list[str | Path] = [
            "qemu-aarch64",
            "-L",
            make_system(root, cpu, folder),
            "-cpu",
            cpu,
        ]
        command += ["-plugin", f"file={compile_plugin(folder)},out={out}", python, "-c", PROGRAM]
        done = subprocess.run(  # noqa: S603
            [*command, compile_library(folder), str(int(fuse)), str(int(xnnpack)), *files],
            env={"PATH": os.environ["PATH"]} | {key: str(of) for key, of in variables.items()},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise click.ClickException(f"{command[0]} must run the files: {done.stderr}")
        names = Names(done.stdout)
        return [names.count(part) for part in out.read_text().split("\n\n")[: len(files)]]


class Names:
    """Tells libraries and functions by addresses, as the program's `/proc/self/maps` has them."""

    def __init__(self, maps: str) -> None:
        self._begins: list[int] = []
        self._paths: list[tuple[int, Path]] = []  # with the address where the file begins
        self._functions: dict[Path, tuple[list[int], list[str]]] = {}
        bases: dict[Path, int] = {}
        for line in maps.strip().splitlines():
            place, _, _, _, _, *path = line.split(maxsplit=5)
            begin = int(place.split("-")[0], 16)
            file = Path(path[0] if path else "")
            self._begins.append(begin)
            self._paths.append((bases.setdefault(file, begin), file))

    def count(self, text: str) -> Counter[str]:
        counts: Counter[str] = Counter()
        for line in text.splitlines():
            address, instructions = line.split()
            counts[self._name(int(address, 16))] += int(instructions)
        return counts

    def _name(self, address: int) -> str:
        base, path = self._paths[bisect(self._begins, address) - 1]
        if path not in self._functions:
            self._functions[path] = functions_of(path)
        begins, names = self._functions[path]
        at = bisect(begins, address - base)
        return f"{path.name.split('.')[0]} {names[at - 1] if at else ''}"


def functions_of(path: Path) -> tuple[list[int], list[str]]:
    """Where a library's functions begin, in order, and their names; none if it tells none."""
    done = subprocess.run(["nm", path], capture_output=True, text=True, check=False)  # noqa: S603, S607
    found = re.findall(r"^([0-9a-f]+) [tTwW] ([^$].*)$", done.stdout, re.MULTILINE)
    pairs = sorted((int(address, 16), name) for address, name in found)
    return [address for address, _ in pairs], [name for _, name in pairs]


def kinds(counts: Counter[str]) -> dict[str, int]:
    found = dict.fromkeys(KINDS, 0)
    for name, instructions in counts.items():
        found[next(k for k, pattern in KINDS.items() if re.search(pattern, name))] += instructions
    return found


def table(files: tuple[Path, ...], counts: list[Counter[str]], most: int) -> str:
    """Markdown: the whole, by kinds, and of the `most` functions that execute most."""
    whole = [count.total() for count in counts]
    names = [name for name, _ in sum(counts, Counter()).most_common(most)]
    rows = {"all": whole}
    rows |= {kind: [kinds(count)[kind] for count in counts] for kind in KINDS}
    rows |= {f"`{name}`": [count[name] for count in counts] for name in names}
    lines = [
        f"| million instructions, not times | {' | '.join(file.stem for file in files)} |",
        f"|---|{'--:|' * len(files)}",
        f"| ratio to the first | {' | '.join(f'{each / whole[0]:.4f}' for each in whole)} |",
    ]
    for name, numbers in rows.items():
        lines.append(f"| {name} | {' | '.join(f'{each / 1e6:.2f}' for each in numbers)} |")
    return "\n".join(lines)


def as_json(files: tuple[Path, ...], counts: list[Counter[str]], cpu: str, fuse: bool) -> str:
    found = [
        {
            "file": str(file),
            "instructions": count.total(),
            "kinds": kinds(count),
            "functions": dict(count.most_common()),
        }
        for file, count in zip(files, counts, strict=True)
    ]
    return json.dumps({"cpu": cpu, "fuse": fuse, "files": found}, indent=2)


EXISTING = click.Path(exists=True, path_type=Path)


@click.command()
@click.argument("files", nargs=-1, required=True, type=EXISTING)
@click.option("--root", required=True, type=EXISTING, help="Of a 64-bit ARM Debian.")
@click.option("--cpu", default="cortex-a72", show_default=True, help="One that QEMU knows.")
@click.option("--fuse/--no-fuse", default=True, help="TensorFlow Lite's operators in our passes.")
@click.option("--xnnpack/--no-xnnpack", default=True, help="For what the delegate leaves.")
@click.option("--functions", default=0, help="How many functions to tell, those of most.")
@click.option("--json", "in_json", is_flag=True)
def main(
    files: tuple[Path, ...],
    root: Path,
    cpu: str,
    fuse: bool,
    xnnpack: bool,
    functions: int,
    in_json: bool,
) -> None:
    """Counts executed instructions, which are no times, of FILES and kinds of their work."""
    for needed in ("qemu-aarch64", "cc", "nm"):
        if shutil.which(needed) is None:
            raise click.ClickException(f"{needed} must be installed: apt install qemu-user gcc.")
    counts = run(root.resolve(), cpu, fuse, xnnpack, tuple(file.resolve() for file in files))
    if in_json:
        click.echo(as_json(files, counts, cpu, fuse))
        return
    click.echo(table(files, counts, functions))
    today = datetime.now(tz=timezone.utc).date()
    click.echo(
        f"\none inference, one thread, {cpu} by QEMU, fuse {int(fuse)}, "
        f"xnnpack {int(xnnpack)}, {today}"
    )


if __name__ == "__main__":
    main()
