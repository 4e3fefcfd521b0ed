"""Reads the tensors of PyTorch checkpoints, without PyTorch and without running anything.

What was pickled is read by `torch_pickles`; here tensors get their numbers.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from larq_insta.checkpoints.torch_pickles import UPPER_HALVES, Storage, Tensor, are_counts, load
from larq_insta.lite.errors import InputError, first_line

_ZIP_START = b"PK\x03\x04"
_LEGACY_START = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
_LEGACY_VERSION = 1001
_MOST_AXES = 32
_MOST_SHARING = 4
_STATES = ("state_dict", "model_state_dict", "model")
"""Under which of its keys a checkpoint has its tensors, if it says more than these."""


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict that `torch.save` has written, by their names.

    Takes PyTorch's zip format and the one before 1.6, a state dict itself or one under the
    key `state_dict`, `model_state_dict` or `model`, or the only one; where all names begin
    with `module.`, that is left out. What else there is, such as options, is not looked at.

    # Arguments
        path: The file.

    # Returns
        Contiguous arrays of the tensors' shapes and types: float16, float32 (also for
        bfloat16), float64, bool, uint8, or signed integers of 8 to 64 bits.

    # Raises
        InputError: if the file is missing, damaged, of another kind or byte order; if it
            names anything but tensors and known remarks, or the state dict holds anything
            but tensors; if a tensor reaches beyond its storage or has more elements than it,
            or all tensors together more than four times the bytes of all storages.

    # References
        - [PyTorch: serialization
            semantics](https://pytorch.org/docs/stable/notes/serialization.html)
    """
    try:
        return _tensors(path.read_bytes())
    except Exception as error:  # damaged pickles and archives fail in any way
        raise InputError(
            f"Weights must be a whole PyTorch state dict; {path} is not one "
            f"({first_line(error)}): get the file again, or save model.state_dict() by torch.save."
        ) from error


_Content: TypeAlias = tuple[Any, dict[str, np.ndarray]]
"""What was pickled, and the flat arrays of its storages by their keys."""


def _tensors(data: bytes) -> dict[str, np.ndarray]:
    if data.startswith(_ZIP_START):
        content, values = _read_zip(data)
    elif data.startswith(_LEGACY_START):
        content, values = _read_legacy(data)
    else:
        raise ValueError("it begins as none of PyTorch's files does")
    room = _MOST_SHARING * sum(array.nbytes for array in values.values())
    arrays = {}
    for name, tensor in _state_dict(content).items():
        arrays[name] = _array(name, tensor, values[tensor.storage.key])
        room -= arrays[name].nbytes
        if room < 0:
            raise ValueError("its tensors are far larger than their storages")
    return arrays


def _read_zip(data: bytes) -> _Content:
    with zipfile.ZipFile(BytesIO(data)) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise ValueError(f"it has {len(names)} members data.pkl instead of one")
        root = names[0].removesuffix("data.pkl")
        byte_order = f"{root}byteorder"
        if byte_order in archive.namelist() and _member(archive, byte_order) != b"little":
            raise ValueError("its byte order is not little-endian")
        content, storages = load(BytesIO(_member(archive, names[0])), len(data))
        return content, {
            key: _values(storage, _member(archive, f"{root}data/{key}"))
            for key, storage in storages.items()
        }


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:  # PyTorch does not compress; bombs do
        raise ValueError(f"its member {name!r} is compressed")
    return archive.read(info)


def _read_legacy(data: bytes) -> _Content:
    file = BytesIO(data)
    file.seek(len(_LEGACY_START))
    (version, _), (system, _) = load(file), load(file)
    if version != _LEGACY_VERSION or system["little_endian"] is not True:
        raise ValueError("its version is unknown or its byte order not little-endian")
    content, storages = load(file, len(data))
    keys, _ = load(file)
    if sorted(keys) != sorted(storages):
        raise ValueError("its list of storages is not that of its tensors")
    return content, {
        key: _values(storages[key], _next_storage(file, storages[key])) for key in keys
    }


def _next_storage(file: BytesIO, storage: Storage) -> bytes:
    if int.from_bytes(file.read(8), "little", signed=True) != storage.length:
        raise ValueError(f"its storage {storage.key!r} is of another size than claimed")
    return file.read(storage.nbytes)


def _values(storage: Storage, data: bytes) -> np.ndarray:
    if len(data) != storage.nbytes:
        raise ValueError(
            f"its storage {storage.key!r} must have {storage.nbytes} bytes and has {len(data)}"
        )
    values = np.frombuffer(data, storage.dtype)
    if storage.kind == UPPER_HALVES:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values


def _state_dict(content: Any) -> dict[str, Tensor]:
    state = _within(content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not state:
        raise ValueError("it holds no dictionary of tensors")
    if not all(type(name) is str for name in state):
        raise ValueError("its tensors' names are not all text")
    for name, value in state.items():
        if not isinstance(value, Tensor):
            kind = type(value).__name__.lstrip("_")
            raise ValueError(f"its entry {name!r} is no tensor but {kind}")
    if all(name.startswith("module.") for name in state):
        return {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def _within(content: dict[str, Any]) -> Any:
    """The state dict of a checkpoint, which may be all of it."""
    known = [content[key] for key in _STATES if isinstance(content.get(key), dict)]
    if known or any(isinstance(value, Tensor) for value in content.values()):
        return known[0] if known else content
    found = [key for key, value in content.items() if _are_tensors(value)]
    if len(found) > 1:
        raise ValueError(
            f"it has tensors under {', '.join(map(repr, found))}, none of which is known"
        )
    return content[found[0]] if found else content.get(_STATES[0], content)


def _are_tensors(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(isinstance(part, Tensor) for part in value.values())
    )


def _array(name: str, tensor: Tensor, values: np.ndarray) -> np.ndarray:
    """A copy of what the tensor shows of its storage's `values`, if it lies within them."""
    offset, size, stride = tensor.offset, tensor.size, tensor.stride
    if (
        type(size) is not tuple
        or type(stride) is not tuple
        or not are_counts(offset, *size, *stride)
    ):
        raise ValueError(f"its tensor {name!r} has no valid offset, size and stride")
    if len(size) != len(stride) or len(size) > _MOST_AXES:
        raise ValueError(f"its tensor {name!r} has {len(size)} axes and {len(stride)} strides")
    if 0 in size:
        return np.empty(0, values.dtype).reshape(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= len(values) or math.prod(size) > len(values):
        raise ValueError(f"its tensor {name!r} reaches beyond its storage")
    # Where an axis has one element, its stride is free; NumPy takes no arbitrary ones.
    steps = [step * values.itemsize * (n > 1) for n, step in zip(size, stride, strict=True)]
    return np.lib.stride_tricks.as_strided(values[offset:], size, steps, writeable=False).copy()
