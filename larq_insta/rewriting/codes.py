"""Operator codes of a file: which operator in which version an operator is."""

from __future__ import annotations

import numpy as np

from larq_insta_runtime.engine import schema

_RUNTIME = b"min_runtime_version"


def builtin(code: schema.OperatorCodeT) -> int:
    """The number of an operator, whichever field of the format holds it."""
    return max(code.builtinCode, code.deprecatedBuiltinCode)


def code_index(model: schema.ModelT, operator: int, version: int, needs: str | None = None) -> int:
    """The index of an operator in a version, which is added if there is none.

    # Arguments
        model: The file, which is changed.
        operator: The builtin operator.
        version: Its version.
        needs: The first TFLite that has it, for the file to say.
    """
    for index, code in enumerate(model.operatorCodes):
        if (builtin(code), code.version) == (operator, version):
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = operator
    code.deprecatedBuiltinCode = min(operator, 127)  # which stands for those above
    code.version = version
    model.operatorCodes.append(code)
    if needs is not None:
        _note_runtime(model, needs)
    return len(model.operatorCodes) - 1


def _note_runtime(model: schema.ModelT, version: str) -> None:
    """Says in the file that it needs this TFLite at least, if it has not said a newer one."""
    for entry in model.metadata or ():
        if entry.name == _RUNTIME:
            said = bytes(model.buffers[entry.buffer].data).rstrip(b"\0").decode()
            newest = max(said, version, key=_numbers)
            model.buffers[entry.buffer] = schema.BufferT()
            model.buffers[entry.buffer].data = np.frombuffer(
                newest.encode().ljust(16, b"\0"), np.uint8
            )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".") if number.isdigit()]
