"""Compiles the native library while the package is built; all else stands in pyproject.toml.

`CC` chooses the compiler. For wheels of other platforms `wheels.py` gives a library that it has
compiled and the platform's name, in LARQ_INSTA_LIBRARY and LARQ_INSTA_PLATFORM. Where there is no
compiler the package is built without: files that need the library then say so.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent.resolve()
PACKAGE = "larq_insta_runtime"
URLS = {"Paper": "https://arxiv.org/abs/2204.07439"}
if repository := os.environ.get("LARQ_INSTA_REPOSITORY"):  # of whoever publishes
    URLS |= {"Source": repository, "Issues": f"{repository}/issues"}
SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
FLAGS = [
    "-std=gnu11", "-O3", "-fPIC", "-shared", "-fvisibility=hidden",
    "-ffp-contract=off",  # products are rounded before they are added, on every processor
]  # fmt: skip


def compiler() -> list[str] | None:
    named = os.environ.get("CC")
    if named:
        return shlex.split(named)
    return next(([name] for name in ("cc", "gcc", "clang") if shutil.which(name)), None)


def sources() -> list[str]:
    return sorted(str(path.relative_to(HERE)) for path in (HERE / "native").glob("*.c"))


def build_library(folder: Path) -> None:
    for other in folder.glob("liblarq_insta.*"):  # of another platform, built before
        other.unlink()
    ready = os.environ.get("LARQ_INSTA_LIBRARY")
    if ready:
        shutil.copy(ready, folder / Path(ready).name)
        return
    command = compiler()
    if command is None:
        sys.stderr.write("larq-insta-runtime: no C compiler, so no native library\n")
        return
    target = folder / f"liblarq_insta{SUFFIX}"
    command += [*FLAGS, *sources(), "-o", str(target), "-lpthread", "-lm"]
    subprocess.run(command, check=True, cwd=HERE)  # noqa: S603


class BuildWithLibrary(build_py):
    def run(self) -> None:
        super().run()
        folder = HERE / PACKAGE if self.editable_mode else Path(self.build_lib, PACKAGE).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        build_library(folder)


class WheelOfAnyPython(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        given = os.environ.get("LARQ_INSTA_PLATFORM")
        if not given and compiler() is None:
            return "py3", "none", "any"
        self.root_is_pure = False
        return "py3", "none", given or super().get_tag()[2]


setup(
    project_urls=URLS,
    cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": WheelOfAnyPython},
)
