"""The error that a user can mend."""

from __future__ import annotations


class InputError(ValueError):
    """Something given to us is wrong: the rule, the value received and the remedy."""


def first_line(error: BaseException) -> str:
    """What another library says in a message that may have many lines."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
