"""Which numbers 256 steps stand for, by what is seen on pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from larq_insta_runtime.engine import Interpreter
from larq_insta_runtime.flatbuffer import pack, unpack

_LEAST, _LARGEST = -128, 127
_SHRUNK = np.linspace(1, 0.4, 31)
_SAMPLES = 200_000  # numbers of a tensor, which tell its distribution


@dataclass(frozen=True)
class Steps:
    """A whole number q stands for `scale` times (q - `zero`)."""

    scale: float
    zero: int


def observe(content: bytes, tensors: list[int], images: np.ndarray) -> dict[int, np.ndarray]:
    """Numbers that tensors have, by LiteRT, of all pictures alike.

    # Arguments
        content: A converted model.
        tensors: Their numbers.
        images: What it takes `(images, height, width, channels)`.
    """
    model = unpack(content)
    graph = model.subgraphs[0]
    graph.outputs, model.signatureDefs = list(tensors), None
    interpreter = Interpreter(pack(model))
    seen: dict[int, list[np.ndarray]] = {tensor: [] for tensor in tensors}
    chosen = np.random.default_rng(0)
    for image in images:
        for tensor, values in zip(tensors, interpreter.run([image[None]]), strict=True):
            flat, most = values.reshape(-1), max(1, _SAMPLES // len(images))
            few = flat if len(flat) <= most else chosen.choice(flat, most, replace=False)
            ends = [flat.min(), flat.max()]
            seen[tensor].append(np.concatenate([few, ends]).astype(np.float32))
    return {tensor: np.concatenate(values) for tensor, values in seen.items()}


def steps_for(numbers: np.ndarray) -> Steps:
    """The steps of least squared error for such numbers, of which rare large ones are cut off."""
    low, high = min(float(numbers.min()), 0.0), max(float(numbers.max()), 0.0)
    if high == low:
        return Steps(1.0, 0)
    tried = [_steps(low * part, high * part) for part in _SHRUNK]
    return min(tried, key=lambda steps: _error(numbers, steps))


def _steps(low: float, high: float) -> Steps:
    scale = np.float32((high - low) / (_LARGEST - _LEAST))
    return Steps(float(scale), int(np.clip(round(_LEAST - low / scale), _LEAST, _LARGEST)))


def _error(numbers: np.ndarray, steps: Steps) -> float:
    whole = np.clip(np.rint(numbers / steps.scale) + steps.zero, _LEAST, _LARGEST)
    return float(np.square((whole - steps.zero) * steps.scale - numbers).mean())
