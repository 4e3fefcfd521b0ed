"""What is published: metadata of both distributions, workflows, and how to cite."""

import re
import runpy
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import setuptools

import larq_insta

ROOT = Path(__file__).parents[1]
REPOSITORY = "https://example.org/owner/name"
SETUPS = ("setup.py", "runtime/setup.py")


@pytest.fixture
def metadata(monkeypatch):
    """What a `setup.py` says, published from a repository or built from a checkout."""

    def say(path, repository=None):
        said = {}
        monkeypatch.setattr(setuptools, "setup", said.update)
        monkeypatch.chdir((ROOT / path).parent)
        if repository:
            monkeypatch.setenv("LARQ_INSTA_REPOSITORY", repository)
        else:
            monkeypatch.delenv("LARQ_INSTA_REPOSITORY", raising=False)
        runpy.run_path(str(ROOT / path))
        return said

    return say


@pytest.mark.parametrize("path", SETUPS)
def test_links_lead_to_the_repository_that_publishes(path, metadata):
    assert set(metadata(path)["project_urls"]) == {"Paper"}
    links = metadata(path, REPOSITORY)["project_urls"]
    assert links["Source"] == REPOSITORY
    assert links["Issues"] == f"{REPOSITORY}/issues"


def test_links_of_the_readme_work_elsewhere(metadata):
    place = f"{REPOSITORY}/%s/v{larq_insta.__version__}/"
    text = metadata("setup.py", REPOSITORY)["long_description"]
    readme = (ROOT / "README.md").read_text()
    links = re.findall(r"(!?)\[[^]]*\]\(([^)]+)\)", text)
    assert links
    for picture, link in links:
        assert link.startswith(("http://", "https://", "#")), link
        if link.startswith(REPOSITORY):
            start = place % ("raw" if picture else "blob")
            assert link.startswith(start)
            assert (ROOT / link.removeprefix(start).partition("#")[0]).exists(), link
    assert metadata("setup.py")["long_description"] == readme


def test_both_distributions_are_of_one_version_and_licence(metadata):
    runtime = (ROOT / "runtime/pyproject.toml").read_text()
    version = runpy.run_path(str(ROOT / "runtime/larq_insta_runtime/version.py"))["__version__"]
    said = metadata("setup.py")
    assert said["version"] == version == larq_insta.__version__
    assert f"larq-insta-runtime=={version}" in said["install_requires"]
    assert said["license_expression"] == "Apache-2.0"
    assert '\nlicense = "Apache-2.0"\n' in runtime
    assert (ROOT / "runtime/LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_who_is_cited():
    text = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {larq_insta.__version__}\n" in text
    assert "\nlicense: Apache-2.0\n" in text
    names = re.findall(r"family-names: (.+)\n +given-names: (.+)", text)
    assert names == [
        ("Lee", "Changhun"),
        ("Kim", "Hyungjun"),
        ("Park", "Eunhyeok"),
        ("Kim", "Jae-Joon"),
    ]
    assert "2204.07439" in text


def test_a_tag_is_published_if_all_versions_are_its_own(tmp_path):
    check = runpy.run_path(str(ROOT / ".github/check_tag.py"))
    texts = {
        "CITATION.cff": "cff-version: 1.2.0\nversion: 1.2.3\n",
        "CHANGELOG.md": "# Changelog\n\n## 1.2.3 (2026-11-26)\n\n## 1.2.2\n",
    }
    for file in check["PLACES"]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(texts.get(file, '"""Text."""\n\n__version__ = "1.2.3"\n'))
    assert check["problems"](tmp_path, "v1.2.3") == []
    assert len(check["problems"](tmp_path, "v1.2.4")) == len(check["PLACES"])
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n## 1.2.3\n")
    assert check["problems"](tmp_path, "v1.2.3") == ["CHANGELOG.md says Unreleased"]


def test_places_of_versions_are_where_a_tag_is_checked():
    check = runpy.run_path(str(ROOT / ".github/check_tag.py"))
    found = check["problems"](ROOT, f"v{larq_insta.__version__}")
    assert found in ([], ["CHANGELOG.md says Unreleased"])


@pytest.mark.slow
def test_the_runtime_is_whole_from_its_sources(tmp_path):
    """As pip builds it where there is no wheel. What setuptools warns of, later ones refuse."""

    def setup(folder, *command):
        done = subprocess.run(
            [sys.executable, "setup.py", *command],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "Warning" not in done.stderr

    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "runtime", checkout, ignore=shutil.ignore_patterns("build", "dist"))
    (checkout / "larq_insta_runtime/liblarq_insta.so").write_text("of another machine")
    setup(checkout, "sdist", "--dist-dir", tmp_path)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        assert not [name for name in file.getnames() if "liblarq_insta." in name]
        file.extractall(tmp_path, filter="data")
    setup(tmp_path / archive.name.removesuffix(".tar.gz"), "build_py", "--build-lib", tmp_path)
    (library,) = (tmp_path / "larq_insta_runtime").glob("liblarq_insta.*")
    assert b"tflite_plugin_create_delegate" in library.read_bytes()
