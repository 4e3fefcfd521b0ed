"""The delegate refuses or computes mutated files; see `fuzz_delegate.py`."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzz_delegate.py")


@pytest.mark.parametrize("count", [300])
def test_mutated_operators_crash_nothing(count):
    done = subprocess.run(
        [sys.executable, SCRIPT, "--mutations", str(count)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-200:] + done.stderr[-2000:]
    words = done.stdout.splitlines()[-1].split()
    assert words[1] == "mutations:"
    assert 10 < int(words[2]) < count - 10  # neither all of them nor none
