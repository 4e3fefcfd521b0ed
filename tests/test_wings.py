"""The order of the package's wings, and what their doors may cost."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import larq_insta
import larq_insta_runtime

PACKAGE = Path(larq_insta.__file__).parent
RUNTIME = Path(larq_insta_runtime.__file__).parent
WAY, DEVICE = "Data flows one way", "A device needs no TensorFlow"
LIMITS = {"wings": 9, "lines of a wing": 2000, "lines of a file": 300}


def wings():
    return [path.parent for path in PACKAGE.glob("*/__init__.py")]


def lines(path):
    return len(path.read_text().splitlines())


def lint_imports(folder):
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path, pytestconfig):
    """A copy of the package with its contracts."""
    ignored = shutil.ignore_patterns("__pycache__")
    for package in (PACKAGE, RUNTIME):
        shutil.copytree(package, tmp_path / package.name, ignore=ignored)
    shutil.copy(pytestconfig.rootpath / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("larq_insta/layers/fused.py", None, None),
        ("larq_insta/layers/fused.py", "from larq_insta.data import loading", WAY),
        ("larq_insta/conversion/lowering.py", "import larq_insta.cli", WAY),
        ("larq_insta/new.py", "", WAY),  # every module has its place
        ("larq_insta_runtime/graph.py", "def f():\n    import tensorflow", DEVICE),
        ("larq_insta_runtime/graph.py", "from larq_insta.layers import fused", DEVICE),
    ],
)
def test_imports_that_go_up_break_a_contract(checkout, file, line, broken):
    if line is not None:
        path = checkout / file
        path.write_text((path.read_text() if path.exists() else "") + f"\n{line}\n")
    done = lint_imports(checkout)
    assert done.returncode == (1 if broken else 0), done.stdout + done.stderr
    if broken:
        assert f"{broken} BROKEN" in done.stdout


def test_wings_and_files_stay_small():
    assert len(wings()) <= LIMITS["wings"]
    assert max(lines(path) for path in RUNTIME.glob("*.py")) <= LIMITS["lines of a file"]
    for wing in wings():
        files = list(wing.glob("*.py"))
        assert sum(map(lines, files)) <= LIMITS["lines of a wing"], wing
        for path in files:
            assert lines(path) <= LIMITS["lines of a file"], path
            assert wing.name not in path.stem.split("_"), path


def test_running_a_file_imports_no_tensorflow(pytestconfig):
    picture = pytestconfig.rootpath / "docs/boot.png"
    code = f"""
import sys
from larq_insta.cli import cli
if __name__ == "__main__":
    cli(["predict", "fashion_mnist", {str(picture)!r}], standalone_mode=False)
    from larq_insta_runtime import packaged
    file = str(packaged.converted("fashion_mnist"))
    cli(["benchmark", file, "--runs", "1", "--ops"], standalone_mode=False)
    print({{"tensorflow", "larq", "larq_compute_engine", "numpy"}} & sys.modules.keys())
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert "Ankle boot" in done.stdout
    assert done.stdout.splitlines()[-1] == "{'numpy'}"
