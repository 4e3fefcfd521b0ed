"""What long work shows on a terminal, and that it shows nothing elsewhere."""

import errno
import io
import re
import time
from types import SimpleNamespace

import pytest

from larq_insta_runtime import progress
from larq_insta_runtime.progress import Line, Pace, counted, duration, stages

BATCHES = [(None, range(10))] * 3


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (45, "45 s"),
        (89, "89 s"),
        (90, "2 min"),
        (5369, "89 min"),
        (12000, "3 h 20 min"),
    ],
)
def test_durations_are_as_exact_as_anybody_needs(seconds, words):
    assert duration(seconds) == words


def test_the_time_left_forgets_what_was_before(clock):
    pace = Pace(total=10)
    assert not pace.left(0)
    clock[0] = 60
    assert pace.left(1) == "9 min left"
    pace.restart(1)
    assert not pace.left(1)
    clock[0] = 64
    assert pace.left(3) == "14 s left"
    assert not pace.left(10)


def test_a_bar_covers_what_stood_there_and_goes_when_cleared(terminal):
    line = Line()
    line.bar("Testing", 0.5, "12 s left", "", "loss 1.2000")
    first = "Testing [========........]  50%, 12 s left, loss 1.2000"
    line.write("short")
    line.clear()
    covered = "short".ljust(len(first))
    assert terminal() == f"\r{first}\r{covered}\r     \r"


def test_a_line_is_never_wider_than_the_terminal(terminal):
    Line().write("x" * 500)
    assert terminal() == "\r" + "x" * 79


def test_a_line_is_written_ten_times_a_second_at_most(terminal, clock, monkeypatch):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN", 0.1)
    line = Line()
    assert line.due
    line.write("now")
    assert not line.due
    clock[0] += 0.2
    assert line.due


def test_counting_shows_a_bar_with_the_time_left(terminal, clock):
    for _ in counted(BATCHES, 30, "Evaluating"):
        clock[0] += 2
    written = terminal()
    assert re.search(r"\rEvaluating \[=+\.+\]  67%, 2 s left", written)
    assert written.endswith(" \r")


def test_a_bar_goes_if_the_work_fails(terminal):
    batches = counted(BATCHES, 30, "Evaluating")
    next(batches)
    next(batches)
    batches.close()
    assert terminal().endswith(" \r")


def test_stages_are_shown_with_their_time(terminal):
    with stages() as tell:
        tell("folding")
        tell("lowering")
        time.sleep(1.5)
    written = terminal()
    assert "\rFolding ...\rLowering ..." in written
    assert "Lowering ... 1 s" in written
    assert written.endswith(" \r")


@pytest.mark.parametrize("stream", [io.StringIO(), None])
def test_nothing_is_shown_but_on_a_terminal(stream, monkeypatch):
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=stream))
    assert list(counted(BATCHES, 30, "Evaluating")) == BATCHES
    with stages() as tell:
        tell("folding")
    Line().write("text")
    assert stream is None or not stream.getvalue()


def test_a_terminal_that_is_closed_ends_no_work(terminal, monkeypatch):
    line = Line()
    assert line.shown

    def fail(_text):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(line._stream, "write", fail)
    line.write("text")
    line.write("more")
    assert not line.shown
