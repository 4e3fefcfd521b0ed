"""`versions`: one screen for reports of faults, whatever is missing or broken."""

import platform
import subprocess
import sys
from functools import partial
from importlib import metadata
from types import SimpleNamespace

import pytest
from conftest import run

from larq_insta.cli import versions
from larq_insta_runtime import __version__ as version
from larq_insta_runtime import delegate, environment, kernels
from larq_insta_runtime.cli import cli

run_here = partial(run, group=cli)
SCREEN = (23, 79)  # and the line of the command
FOUND = "\nprint('[]')"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(versions, "_IMPORTS", FOUND)


def rows(output):
    """Values by name; what is cut into lines is put together."""
    found = {}
    for line in output.splitlines():
        if not line.startswith(" "):
            name = line[: environment._WIDTH].strip()
            found[name] = []
        found[name].append(line[environment._WIDTH :])
    return {name: " ".join(lines) for name, lines in found.items()}


def assert_one_screen(output):
    lines = output.splitlines()
    assert len(lines) <= SCREEN[0], output
    assert max(map(len, lines)) <= SCREEN[1], output


@pytest.mark.parametrize("called", [run, run_here])
def test_a_whole_installation_is_told_on_one_screen(called):
    output = called("versions")
    assert_one_screen(output)
    found = rows(output)
    assert found["Python"].startswith(".".join(map(str, sys.version_info[:3])))
    assert found["larq-insta-runtime"] == version
    assert found["numpy"] == metadata.version("numpy")
    assert found["kernels"] == f"{kernels()[0]}; there are {', '.join(kernels())}"
    assert f"{delegate.library().stat().st_size:,} bytes, loaded" in found["native library"]
    assert "cores for this process" in found["processor"]
    assert "broken" not in output


def test_a_workstation_has_what_a_device_has_and_more():
    device, workstation = rows(run_here("versions")), rows(run("versions"))
    assert device.items() <= workstation.items()
    assert workstation["tensorflow"] == metadata.version("tensorflow")
    assert workstation["GPUs"].startswith("none that TensorFlow sees")


def test_kernels_that_were_asked_for_are_told(monkeypatch):
    monkeypatch.setenv("LARQ_INSTA_KERNELS", "portable")
    assert rows(run_here("versions"))["kernels"].startswith("portable, as LARQ_INSTA_KERNELS")
    monkeypatch.setenv("LARQ_INSTA_KERNELS", "mmx")
    found = rows(run_here("versions"))
    assert found["kernels"].startswith("none, as LARQ_INSTA_KERNELS=mmx; there are")
    assert found["native library"].startswith("broken: ")


def test_what_is_missing_or_broken_is_told_in_its_line(monkeypatch, tmp_path):
    def installed(name):
        if name == "numpy":
            raise metadata.PackageNotFoundError(name)
        if name == "pillow":
            raise UnicodeDecodeError("utf-8", b"x" * 500, 0, 1, "no text\n" * 9)
        return {"larq-insta-runtime": "0.0.7"}.get(name, "1.2.3")

    monkeypatch.setattr(environment.metadata, "version", installed)
    monkeypatch.setattr(delegate, "_FOLDER", tmp_path)
    monkeypatch.setattr(versions, "_IMPORTS", "\nraise ImportError('libcudart.so ' * 90)")
    output = run("versions")
    assert_one_screen(output)
    found = rows(output)
    assert found["numpy"] == "not installed"
    assert found["pillow"].startswith("broken: UnicodeDecodeError: 'utf-8' codec")
    assert found["larq-insta-runtime"] == f"{version}, but 0.0.7 is installed"
    assert found["native library"].startswith("broken: Files of Larq Compute Engine need the")
    assert found["larq"] == "1.2.3"
    assert "ends with code 1: ImportError: libcudart.so" in found["GPUs"]


def test_a_library_of_another_system_is_told(monkeypatch, tmp_path):
    (tmp_path / "liblarq_insta.so").write_text("no library")
    monkeypatch.setattr(delegate, "_FOLDER", tmp_path)
    found = rows(run_here("versions"))
    for name in ("native library", "kernels"):
        assert found[name].startswith("broken: OSError: "), found


def test_boards_are_told_by_their_names(monkeypatch):
    texts = {
        "/proc/cpuinfo": "processor\t: 0\nCPU part\t: 0xd08\n",
        "/proc/device-tree/model": "Raspberry Pi 4 Model B\0",
    }

    def read(name, errors):
        if name not in texts:
            raise FileNotFoundError(name)
        return texts[name]

    monkeypatch.setattr(
        environment, "Path", lambda name: SimpleNamespace(read_text=partial(read, name))
    )
    assert environment.processor() == "Raspberry Pi 4 Model B"
    del texts["/proc/device-tree/model"]
    assert environment.processor() == "0xd08"
    texts["/proc/cpuinfo"] += "model name\t: Some CPU\n"
    assert environment.processor() == "Some CPU"
    del texts["/proc/cpuinfo"]
    assert environment.processor() in (platform.processor(), platform.machine())


@pytest.mark.parametrize(
    ("imports", "words"),
    [
        ("\nprint('noise'); print('[\"NVIDIA A\", \"NVIDIA B\"]')", "NVIDIA A, NVIDIA B"),
        ("\nimport os; os.abort()", "broken: importing TensorFlow and Larq ends with code -6: not"),
        ("\nimport time; time.sleep(60)", "broken: importing TensorFlow takes longer than 0.5 sec"),
        ("\nprint('[')", "broken: JSONDecodeError"),
    ],
)
def test_gpus_are_found_in_a_process_that_may_fail(imports, words, monkeypatch):
    monkeypatch.setattr(versions, "_IMPORTS", imports)
    monkeypatch.setattr(versions, "_PATIENCE", 0.5 if "sleep" in imports else 60)
    assert words in rows(run("versions"))["GPUs"]


@pytest.mark.slow
def test_gpus_are_those_of_tensorflow(monkeypatch):
    monkeypatch.undo()
    assert rows(run("versions"))["GPUs"].startswith("none that TensorFlow sees")


def test_it_needs_no_tensorflow_itself():
    code = f"""
import sys
sys.modules["tensorflow"] = sys.modules["larq"] = None
from larq_insta.cli import cli, versions
versions._IMPORTS = {FOUND!r}
cli(["versions"], standalone_mode=False)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert rows(done.stdout)["GPUs"].startswith("none that TensorFlow sees")
    assert done.stderr == ""
