"""Times `.tflite` files that take turns, each in a process of its own."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from larq_insta_runtime import delegate
from larq_insta_runtime.engine import has_larq_operators
from larq_insta_runtime.environment import processor
from larq_insta_runtime.graph import Graph
from larq_insta_runtime.pool import TimedProcess

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def compare(contents: Sequence[tuple[Path, bytes]], runs: int, threads: int) -> dict[str, Any]:
    """Times of files on random input, milliseconds, with what they were measured on.

    # Raises
        InputError: if one of them cannot be run.
    """
    with ExitStack() as stack:
        timed = [
            stack.enter_context(closing(TimedProcess(content, threads))) for _, content in contents
        ]
        first = [process.first() for process in timed]
        seconds = np.array([[process.once() for process in timed] for _ in range(runs)])
        memory = [process.memory() for process in timed]
        saved = [process.saved_bytes() for process in timed]
    return {
        "threads": threads,
        "runs": runs,
        **_machine(any(has_larq_operators(content) for _, content in contents)),
        "files": [
            {
                "file": str(file),
                "bytes": len(content),
                **{
                    f"{name}_ms": float(np.quantile(seconds[:, n], share)) * 1e3
                    for name, share in _QUANTILES.items()
                },
                "first_ms": first[n] * 1e3,
                "memory_bytes": memory[n],
                "moved_bytes": Graph(content).traffic - saved[n],
            }
            for n, (file, content) in enumerate(contents)
        ],
    }


def described(result: Mapping[str, Any]) -> Iterator[str]:
    """A result in lines."""
    for values in result["files"]:
        times = ", ".join(f"{name} {values[f'{name}_ms']:.2f}" for name in _QUANTILES)
        memory = values["memory_bytes"]
        yield (
            f"{values['file']}: {times} ms, first inference {values['first_ms']:.2f} ms; "
            f"{values['bytes'] / 1e6:.2f} MB; "
            + (f"memory {memory / 1e6:.1f} MB; " if memory is not None else "")
            + f"operators other than products move {values['moved_bytes'] / 1e6:.1f} MB"
        )
    first = result["files"][0]["p50_ms"]
    ratios = [f"{values['p50_ms'] / first:.3f}" for values in result["files"]]
    if len(ratios) > 1:
        yield f"p50 by the first file's: {', '.join(ratios)}"
    yield (
        f"{result['runs']} runs, threads: {result['threads']}, kernels: {result['kernels']}; "
        f"{result['processor']}, {result['system']}; "
        + ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    )


def _machine(larq: bool) -> dict[str, Any]:
    versions = {name: metadata.version(name) for name in ("larq-insta-runtime", "ai-edge-litert")}
    return {
        "kernels": (os.environ.get("LARQ_INSTA_KERNELS") or delegate.kernels()[0])
        if larq
        else "LiteRT's",
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions | {"python": platform.python_version()},
    }
