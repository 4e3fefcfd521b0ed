"""All commands and Python fragments of README and pages run, or say why they cannot.

A comment in front of a block, which no reader sees, says what is special about it:

    <!-- not run: the reason -->
    <!-- slow: the reason -->       it runs with the heavy tests alone
    <!-- run with: OPTIONS -->      of its `larq-insta train`, so that it takes seconds

Blocks of a page run one after another, in one folder and one namespace. If a block of `text`
follows, its lines must be among those that were printed.
"""

import contextlib
import io
import re
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tensorflow as tf
from conftest import run, without_tracing

from larq_insta import data
from larq_insta.cli import cli
from larq_insta.zoo import resnet18
from larq_insta_runtime import packaged
from larq_insta_runtime.cli import cli as device

ROOT = Path(__file__).parents[2]
PROGRAMS = {"larq-insta": cli, "larq-insta-run": device}
KINDS = ("not run", "slow", "run with")
NOT_OF_THE_SITE = ("docs/release.md",)
"""Without markers."""
EPOCH = {"epochs": 1}
BLOCK = re.compile(
    r"((?:^<!-- [^\n]+ -->\n)*)^```(\w+)\n(.*?)^```\n(?:\n^```text\n(.*?)^```\n)?",
    flags=re.MULTILINE | re.DOTALL,
)


@dataclass
class Block:
    """A fragment, and what its markers say."""

    place: str
    language: str
    text: str
    shown: str
    marks: dict[str, str] = field(default_factory=dict)

    @property
    def lines(self):
        return self.text.replace("\\\n", " ").splitlines()


def blocks(page):
    text = (ROOT / page).read_text()
    for match in BLOCK.finditer(text):
        markers, language, code, shown = match.groups()
        if language in ("python", "sh"):
            place = f"{page}:{text[: match.start(3)].count(chr(10)) + 1}"
            pairs = re.findall(r"<!-- ([^:]+)(?:: (.*?))? ?-->", markers)
            yield Block(place, language, code, shown or "", dict(pairs))


PAGES = [
    page
    for page in ("README.md", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/**/*.md")))
    if page not in NOT_OF_THE_SITE and list(blocks(page))
]
ALL = [block for page in PAGES for block in blocks(page)]
QUICK = [
    page for page in PAGES if any(not {"slow", "not run"} & b.marks.keys() for b in blocks(page))
]
SLOW = [page for page in PAGES if any("slow" in b.marks for b in blocks(page))]


def named(block):
    return block.place


def test_no_block_is_missed():
    fences = [
        re.findall(r"^ *```(?:python|sh)$", (ROOT / page).read_text(), re.MULTILINE)
        for page in PAGES
    ]
    assert len(ALL) == sum(map(len, fences)) > 30


@pytest.mark.parametrize("block", ALL, ids=named)
def test_markers_have_a_meaning_and_a_reason(block):
    assert set(block.marks) <= set(KINDS), f"{block.place}: markers are {KINDS}"
    for kind, reason in block.marks.items():
        assert reason.strip(), f"{block.place}: `{kind}` must have a reason or options"


@pytest.mark.parametrize("block", ALL, ids=named)
def test_what_is_not_run_is_at_least_spelled_right(block):
    """Commands and options exist, Python can be compiled."""
    if block.language == "python":
        compile(block.text, block.place, "exec")
        return
    for line in block.lines:
        for program, rest in re.findall(r"^(?:\S*/)?(larq-insta\S*) (.+)", line):
            name, *words = shlex.split(rest, comments=True)
            known = {option for p in PROGRAMS[program].commands[name].params for option in p.opts}
            assert {word for word in words if word.startswith("--")} <= known, block.place


@pytest.mark.parametrize("page", QUICK)
def test_fragments_run(page, place):
    for block in blocks(page):
        if not {"slow", "not run"} & block.marks.keys():
            place(block)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The `keras.initializers.serialize")  # of QuickNet's, Keras's
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize("page", SLOW)
def test_slow_fragments_run(page, place, trained, few_clothes):
    shutil.copytree(trained, "digits")
    Path("tfds").symlink_to(few_clothes)
    for block in blocks(page):
        if "not run" not in block.marks:
            place(block)


@pytest.fixture
def place(tmp_path, monkeypatch, folder):
    """Runs blocks in a folder that has what pages speak of."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    for name in ("boot.png", "golf_ball.jpg"):
        for copy in (name, f"docs/{name}"):
            shutil.copy(ROOT / "docs" / name, copy)
    shutil.copy(folder / "cat/1.JPG", "photo.jpg")
    shutil.copy(packaged.converted("fashion_mnist"), "model.tflite")
    digits = Path("larq_insta_demo/pictures")
    digits.mkdir(parents=True)
    image, _ = next(iter(data.load("digits").test.examples))
    (digits / "1_is_a_7.png").write_bytes(tf.io.encode_png(image).numpy())
    namespace = {}

    def run_block(block):
        if block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as output, one_epoch():
                exec(compile(block.text, block.place, "exec"), namespace)
            printed = output.getvalue()
        else:
            printed = "".join(command(line, block) for line in block.lines if line.strip())
        missing = set(block.shown.splitlines()) - set(printed.splitlines())
        assert not missing, f"{block.place}: not printed: {missing}"

    return run_block


def command(line, block):
    """What a command prints, run here."""
    program, *words = shlex.split(line, comments=True)
    assert program in PROGRAMS, (
        f"{block.place}: commands must be of {', '.join(PROGRAMS)}; got {program!r}: mark the "
        "block with <!-- not run: the reason -->."
    )
    words = [found for word in words for found in expanded(word)]
    if words[0] == "train":
        shutil.rmtree(words[words.index("--output") + 1], ignore_errors=True)
        words += shlex.split(block.marks.get("run with", ""))
        with small_and_eager():
            return run(*words)
    return run(*words, group=PROGRAMS[program])


@contextlib.contextmanager
def one_epoch():
    """For what a fragment calls Keras's `fit` for."""
    fit = tf.keras.Model.fit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.keras.Model, "fit", lambda *args, **given: fit(*args, **given | EPOCH))
        yield


@contextlib.contextmanager
def small_and_eager():
    """Two blocks a stage of a ResNet: what a page trains is small only to be read about."""
    with pytest.MonkeyPatch.context() as patch, without_tracing():
        patch.setattr(resnet18, "BLOCKS_PER_STAGE", 2)
        yield


def expanded(word):
    """As shells do."""
    return sorted(map(str, Path().glob(word))) if "*" in word else [word]
