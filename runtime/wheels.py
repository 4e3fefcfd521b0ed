"""Wheels for all platforms on one machine, by Zig's C compiler (`pip install ziglang build`).

    python wheels.py [--output dist] [PLATFORM ...]

Each library is looked at before it is packed: processor, exported names, and on Linux the newest
version of the C library that it asks for and, for Raspberry Pi 5 and new phones, segments that
are aligned to pages of 16 KB. That for this machine is run: it must find all kernels that the
processor has.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
import os
import platform as system
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent.resolve()
GLIBC = (2, 28)
PAGE = 16_384
EXPORTS = {
    "larq_insta_kernels",
    "larq_insta_saved_bytes",
    "tflite_plugin_create_delegate",
    "tflite_plugin_destroy_delegate",
}
FLAGS_OF_KERNELS = {"avx2": "avx2", "avx512": "avx512_vpopcntdq", "neon": "asimd"}
FLAGS = [
    "-std=gnu11", "-O3", "-g0", "-s", "-shared", "-fPIC", "-fvisibility=hidden",
    "-ffp-contract=off",
]  # fmt: skip


@dataclass(frozen=True)
class Platform:
    """What Zig, pip and the system's loader call it.

    # Attributes
        target: Zig's.
        tag: pip's.
        library: The file.
        machine: In the head of the library: ELF's, Mach-O's or PE's number of the processor.
        flags: Of the linker.
    """

    target: str
    tag: str
    library: str
    machine: int
    flags: tuple[str, ...] = ()


_GLIBC = ".".join(map(str, GLIBC))
_MANYLINUX = "manylinux_{}_{}".format(*GLIBC)
_PAGES = (f"-Wl,-z,max-page-size={PAGE}",)

PLATFORMS = {
    "linux-x86_64": Platform(
        f"x86_64-linux-gnu.{_GLIBC}", f"{_MANYLINUX}_x86_64", "liblarq_insta.so", 62
    ),
    "linux-aarch64": Platform(
        f"aarch64-linux-gnu.{_GLIBC}", f"{_MANYLINUX}_aarch64", "liblarq_insta.so", 183, _PAGES
    ),
    "linux-armv7l": Platform(
        f"arm-linux-gnueabihf.{_GLIBC}", f"{_MANYLINUX}_armv7l", "liblarq_insta.so", 40
    ),
    "macos-arm64": Platform("aarch64-macos.11.0", "macosx_11_0_arm64", "liblarq_insta.dylib", 12),
    "macos-x86_64": Platform("x86_64-macos.11.0", "macosx_11_0_x86_64", "liblarq_insta.dylib", 7),
    "windows-amd64": Platform("x86_64-windows-gnu", "win_amd64", "liblarq_insta.dll", 0x8664),
}


def compile_library(platform: Platform, folder: Path) -> Path:
    library = folder / platform.library
    sources = sorted((HERE / "native").glob("*.c"))
    command = [sys.executable, "-m", "ziglang", "cc", "-target", platform.target, *FLAGS]
    command += [*platform.flags, *map(str, sources), "-o", str(library), "-lpthread", "-lm"]
    subprocess.run(command, check=True)  # noqa: S603
    return library


def machine(content: bytes) -> int:
    """The number of the processor that a library is for."""
    if content[:4] == b"\x7fELF":
        return struct.unpack_from("<H", content, 18)[0]
    if content[:4] == b"\xcf\xfa\xed\xfe":
        return struct.unpack_from("<I", content, 4)[0] & 0xFFFFFF
    if content[:2] == b"MZ":
        return struct.unpack_from("<H", content, struct.unpack_from("<I", content, 60)[0] + 4)[0]
    raise SystemExit("A library must be an ELF, Mach-O or PE file; got another.")


def check_library(name: str, platform: Platform, library: Path) -> str:
    """What was looked at, in words; ends the program where it is not as it must be."""
    content = library.read_bytes()
    if machine(content) != platform.machine:
        raise SystemExit(f"{name}: the library must be for it; got machine {machine(content)}.")
    missing = sorted(symbol for symbol in EXPORTS if symbol.encode() not in content)
    if missing:
        raise SystemExit(f"{name}: the library must export {', '.join(missing)}.")
    found = [f"{len(content):,} bytes, {len(EXPORTS)} exports"]
    if library.suffix == ".so":
        versions = {tuple(map(int, v)) for v in re.findall(rb"GLIBC_(\d+)\.(\d+)", content)}
        if max(versions) > GLIBC:
            raise SystemExit(f"{name}: glibc must be at most {GLIBC}; it needs {max(versions)}.")
        found.append("glibc {}.{}".format(*max(versions)))
    if platform.flags:
        alignment = min(segment_alignments(content))
        if alignment < PAGE:
            raise SystemExit(f"{name}: segments must be aligned to {PAGE}; got {alignment}.")
        found.append(f"segments aligned to {alignment:,}")
    return ", ".join(found)


def segment_alignments(content: bytes) -> list[int]:
    """Of the segments that a 64-bit ELF file has loaded."""
    begin, size, count = (
        struct.unpack_from("<Q", content, 32)[0],
        *struct.unpack_from("<HH", content, 54),
    )
    places = [begin + i * size for i in range(count)]
    loaded = [place for place in places if struct.unpack_from("<I", content, place)[0] == 1]
    return [struct.unpack_from("<Q", content, place + 48)[0] for place in loaded]


def check_kernels(name: str, library: Path) -> str:
    """Names of its kernels, where this machine runs it: all that the processor is said to have."""
    if name != f"{sys.platform}-{system.machine()}":
        return "not run here"
    names = ctypes.CDLL(str(library)).larq_insta_kernels
    names.restype = ctypes.POINTER(ctypes.c_char_p)
    found = [kernels.decode() for kernels in itertools.takewhile(bool, names())]
    flags = Path("/proc/cpuinfo").read_text().split()
    missing = {kernels for kernels, flag in FLAGS_OF_KERNELS.items() if flag in flags} - {*found}
    if missing:
        raise SystemExit(f"{name}: the library must find all kernels; not {', '.join(missing)}.")
    return f"kernels {', '.join(found)}"


def build_wheel(platform: Platform, library: Path, output: Path) -> None:
    variables = {"LARQ_INSTA_LIBRARY": str(library), "LARQ_INSTA_PLATFORM": platform.tag}
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(output), str(HERE)]
    done = subprocess.run(  # noqa: S603
        command, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    (wheel,) = output.glob(f"*-{platform.tag}.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = [Path(name).name for name in archive.namelist() if "/liblarq_insta." in name]
    if packed != [platform.library]:
        raise SystemExit(f"{wheel} must have one library, {platform.library}; got {packed}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("platforms", nargs="*", metavar="PLATFORM", choices=[[], *PLATFORMS])
    parser.add_argument("--output", type=Path, default=HERE / "dist")
    arguments = parser.parse_args()
    for name in arguments.platforms or PLATFORMS:
        with tempfile.TemporaryDirectory() as folder:
            library = compile_library(PLATFORMS[name], Path(folder))
            seen = check_library(name, PLATFORMS[name], library)
            seen += f", {check_kernels(name, library)}"
            build_wheel(PLATFORMS[name], library, arguments.output.resolve())
        sys.stdout.write(f"{name}: {seen}\n")


if __name__ == "__main__":
    main()
