"""The error that a user can mend."""

from __future__ import annotations

_KERAS_FRAME = "Exception encountered when calling layer"
"""What Keras puts in front of what a layer says."""


class InputError(ValueError):
    """Something given to us is wrong: the rule, the value received and the remedy.

    The command line shows it as one line and ends with exit code 2.
    """


def first_line(error: BaseException) -> str:
    """What another library says in a message that may have many lines."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith(_KERAS_FRAME):
        del lines[0]
    return lines[0].strip() if lines else type(error).__name__
