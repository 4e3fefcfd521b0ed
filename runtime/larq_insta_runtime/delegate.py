"""Loads the native library as a delegate, with which any LiteRT runs Larq's files."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from larq_insta_runtime.errors import InputError, first_line

_FOLDER = Path(__file__).parent


def library() -> Path:
    """The native library's file.

    # Raises
        InputError: if the package was installed without it.
    """
    found = sorted(_FOLDER.glob("liblarq_insta.*"))
    if not found:
        raise InputError(
            "Files of Larq Compute Engine need the native library, and larq-insta-runtime was "
            "installed without: install a C compiler (on Debian `apt install gcc`) and the package "
            "again, or convert with --runtime tflite."
        )
    return found[0]


def load_delegate(options: Mapping[str, Any] | None = None) -> Any:
    """A delegate for `experimental_delegates` of an interpreter.

    It works with `ai_edge_litert.interpreter.Interpreter` and with `tf.lite.Interpreter`:

    ```python
    from ai_edge_litert.interpreter import Interpreter
    from larq_insta_runtime import load_delegate

    interpreter = Interpreter("model.tflite", experimental_delegates=[load_delegate()])
    ```

    # Arguments
        options: `num_threads`, by default the interpreter's, and `kernels`, by default the
            fastest that the processor has: `"portable"`, `"avx2"`, `"avx512"` or `"neon"`.
            `fuse` of 0 leaves TensorFlow Lite's operators around Larq's to the interpreter.

    # Raises
        InputError: if there is no library, or an option is unknown.
    """
    from ai_edge_litert import interpreter

    try:
        return interpreter.load_delegate(str(library()), dict(options or {}))
    except ValueError as error:
        raise InputError(str(error).splitlines()[-1]) from error
    except OSError as error:
        raise InputError(
            f"The native library must fit this system; {library()} does not "
            f"({first_line(error)}): install larq-insta-runtime again here."
        ) from error


def kernels() -> list[str]:
    """Names of the kernels that this processor can run, the fastest first.

    # Raises
        InputError: if there is no library.
    """
    names = ctypes.CDLL(str(library())).larq_insta_kernels
    names.argtypes, names.restype = [], ctypes.POINTER(ctypes.c_char_p)
    return [name.decode() for name in itertools.takewhile(bool, names())]


def saved_bytes(delegate: Any) -> int:
    """By how many bytes the operators that it runs, but convolutions, move less in passes.

    # Arguments
        delegate: Of `load_delegate`, after the interpreter has allocated its tensors.
    """
    count = ctypes.CDLL(str(library())).larq_insta_saved_bytes
    count.argtypes, count.restype = [ctypes.c_void_p], ctypes.c_longlong
    return int(count(delegate._get_native_delegate_pointer()))
