"""What GitHub runs, read as it reads it; `actionlint` knows more."""

import re
from pathlib import Path

import pytest
import yaml

from larq_insta.cli import cli
from larq_insta_runtime.cli import cli as device

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".github"
WORKFLOWS = sorted((FOLDER / "workflows").glob("*.yml"))
RIGHTS = {"contents": "read", "pages": "write", "id-token": "write"}
COMMANDS = re.compile(r"\b(larq-insta(?:-run)?) ([a-z]+)")


def read(path):
    return yaml.safe_load(path.read_text())


def steps(workflow):
    """Of all jobs, but those of called workflows."""
    return [step for job in workflow["jobs"].values() for step in job.get("steps", [])]


def test_all_that_must_run_is_there():
    assert [path.stem for path in WORKFLOWS] == ["publish", "site", "tests", "wheels"]
    run = {path.stem: [step.get("run", "") for step in steps(read(path))] for path in WORKFLOWS}
    assert "bash .ci/run" in run["tests"]
    assert "mkdocs build --strict" in run["site"]
    assert "python runtime/wheels.py --output dist" in run["wheels"]
    assert 'python3 .github/check_tag.py "$GITHUB_REF_NAME"' in run["publish"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_jobs_have_the_least_rights_and_end(path):
    workflow = read(path)
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert job["permissions"].items() <= RIGHTS.items(), name
        assert "uses" in job or job["timeout-minutes"] <= 180, name
    for step in steps(workflow):
        if "uses" in step:
            assert re.fullmatch(r"[\w/-]+@(v\d+|release/v\d+)", step["uses"])
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        assert "${{" not in step.get("run", "")  # what is filled in there is run, too


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_files_and_commands_that_are_named_exist(path):
    text = path.read_text()
    for file in re.findall(r"(?<![\w/])(?:\.?/)?((?:\.github|\.ci|docs|runtime)/[\w./]*\w)", text):
        assert (ROOT / file).exists(), file
    for program, command in COMMANDS.findall(
        "\n".join(str(s.get("run")) for s in steps(read(path)))
    ):
        assert command in (cli if program == "larq-insta" else device).commands


def test_nothing_is_published_before_all_is_known_to_work():
    jobs = read(FOLDER / "workflows/publish.yml")["jobs"]
    assert set(jobs["publish-runtime"]["needs"]) == {"tests", "wheels", "package"}
    assert jobs["publish"]["needs"] == "publish-runtime"
    assert all(jobs[name]["needs"] == "tag" for name in ("tests", "wheels", "package"))
    publishing = {name for name, job in jobs.items() if "id-token" in job["permissions"]}
    assert publishing == {"publish-runtime", "publish"}


@pytest.mark.parametrize("name", ["bug", "question"])
def test_issues_ask_for_what_our_commands_tell(name):
    form = read(FOLDER / f"ISSUE_TEMPLATE/{name}.yml")
    fields = {part["id"]: part for part in form["body"]}
    assert "larq-insta versions" in fields["versions"]["attributes"]["label"]
    required = fields["versions"].get("validations", {}).get("required", False)
    assert required == (name == "bug")
    for program, command in COMMANDS.findall(str(form)):
        assert command in (cli if program == "larq-insta" else device).commands
