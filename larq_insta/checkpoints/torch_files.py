"""Reads the tensors of PyTorch checkpoints, without PyTorch and without running anything.

Such a file is a pickle, which may name anything that Python can import and call it. Here a
name stands for nothing but a record of our own: tensors are records until their places in
the file are checked, and every name that no tensor needs is refused.
"""

from __future__ import annotations

import math
import pickle
import pickletools
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from larq_insta.lite.errors import InputError, first_line

_ZIP_START = b"PK\x03\x04"
_LEGACY_START = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
_LEGACY_VERSION = 1001
_MOST_AXES = 32
_MOST_OBJECTS = 2**20
_MOST_SHARING = 4
_DTYPES = {
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "<i1",
    "torch.ByteStorage": "<u1",
    "torch.BoolStorage": "?",
}


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dict that `torch.save` has written, by their names.

    Takes PyTorch's zip format and the one before 1.6, a state dict itself or one under the
    key `state_dict`; where all names begin with `module.`, that is left out.

    # Arguments
        path: The file.

    # Returns
        Contiguous arrays of the tensors' shapes and types: float16, float32, float64, bool,
        uint8, or signed integers of 8 to 64 bits.

    # Raises
        InputError: if the file is missing, damaged, of another kind or byte order; if it
            names anything but tensors, or the state dict holds anything else; if a tensor
            reaches beyond its storage or has more elements than it, or all tensors
            together more than four times the bytes of all storages.

    # References
        - [PyTorch: serialization
            semantics](https://pytorch.org/docs/stable/notes/serialization.html)
    """
    try:
        return _tensors(path.read_bytes())
    except Exception as error:  # damaged pickles and archives fail in any way
        raise InputError(
            f"Weights must be a whole PyTorch state dict; {path} is not one "
            f"({first_line(error)}): get the file again, or save it by torch.save."
        ) from error


class _Storage(NamedTuple):
    """`length` numbers in a row that the file has under `key`."""

    dtype: str
    key: str
    length: int

    @property
    def nbytes(self) -> int:
        return self.length * np.dtype(self.dtype).itemsize


class _Tensor(NamedTuple):
    """A view of a storage, as the file claims it: in elements, not yet checked."""

    storage: _Storage
    offset: Any
    size: Any
    stride: Any


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
        content, storages = _load(BytesIO(_member(archive, names[0])), len(data))
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
    (version, _), (system, _) = _load(file), _load(file)
    if version != _LEGACY_VERSION or system["little_endian"] is not True:
        raise ValueError("its version is unknown or its byte order not little-endian")
    content, storages = _load(file, len(data))
    keys, _ = _load(file)
    if sorted(keys) != sorted(storages):
        raise ValueError("its list of storages is not that of its tensors")
    return content, {
        key: _values(storages[key], _next_storage(file, storages[key])) for key in keys
    }


def _next_storage(file: BytesIO, storage: _Storage) -> bytes:
    if int.from_bytes(file.read(8), "little", signed=True) != storage.length:
        raise ValueError(f"its storage {storage.key!r} is of another size than claimed")
    return file.read(storage.nbytes)


def _values(storage: _Storage, data: bytes) -> np.ndarray:
    if len(data) != storage.nbytes:
        raise ValueError(
            f"its storage {storage.key!r} must have {storage.nbytes} bytes and has {len(data)}"
        )
    return np.frombuffer(data, storage.dtype)


def _load(file: BytesIO, room: int = 0) -> tuple[Any, dict[str, _Storage]]:
    """The next pickle and the storages it names, which must have at most `room` bytes."""
    start = file.tell()
    for opcode, argument, _ in pickletools.genops(file):
        # Unpickling makes room for the highest number, so that few bytes would fill the memory.
        if opcode.name in ("PUT", "LONG_BINPUT") and (argument or 0) > _MOST_OBJECTS:
            raise ValueError("it numbers more objects than a state dict has")
    file.seek(start)
    unpickler = _Unpickler(file)
    content = unpickler.load()
    if sum(storage.nbytes for storage in unpickler.storages.values()) > room:
        raise ValueError("its storages are larger than the file")
    return content, unpickler.storages


class _Unpickler(pickle.Unpickler):
    """Imports nothing, and calls nothing but what `_CALLABLES` has."""

    def __init__(self, file: BytesIO) -> None:
        super().__init__(file, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        if full_name in _DTYPES:
            return full_name
        if full_name in _CALLABLES:
            return _CALLABLES[full_name]
        raise ValueError(f"it names {full_name!r}, which no supported tensor needs")

    def persistent_load(self, identity: Any) -> _Storage:
        kind, type_name, key, _device, length, *view = identity
        if kind != "storage" or type_name not in _DTYPES or view not in ([], [None]):
            raise ValueError("it refers to something else than a storage")
        if type(key) is not str or not _are_counts(length):
            raise ValueError("it has a storage without a name or a size")
        storage = _Storage(_DTYPES[type_name], key, length)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"it claims two kinds or sizes of the storage {key!r}")
        return storage


class _Callable(NamedTuple):
    """Something that a pickle may call; being a tuple, it has no attributes to set."""

    make: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.make(*args)


class _OrderedDict(dict):
    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        """Forgets the versions of modules, which state dicts have as an attribute."""


def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, _requires_grad: Any, _hooks: Any
) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise TypeError("it has a tensor without a storage")
    return _Tensor(storage, offset, size, stride)


def _parameter(tensor: Any, _requires_grad: Any, _hooks: Any) -> Any:
    return tensor


_CALLABLES = {
    "collections.OrderedDict": _Callable(_OrderedDict),
    "torch._utils._rebuild_tensor_v2": _Callable(_tensor),
    "torch._utils._rebuild_parameter": _Callable(_parameter),
}


def _state_dict(content: Any) -> dict[str, _Tensor]:
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not state:
        raise ValueError("it holds no dictionary of tensors")
    if not all(type(name) is str for name in state):
        raise ValueError("its tensors' names are not all text")
    for name, value in state.items():
        if not isinstance(value, _Tensor):
            raise ValueError(f"its entry {name!r} is no tensor but {type(value).__name__}")
    if all(name.startswith("module.") for name in state):
        return {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def _array(name: str, tensor: _Tensor, values: np.ndarray) -> np.ndarray:
    """A copy of what the tensor shows of its storage's `values`, if it lies within them."""
    offset, size, stride = tensor.offset, tensor.size, tensor.stride
    if (
        type(size) is not tuple
        or type(stride) is not tuple
        or not _are_counts(offset, *size, *stride)
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


def _are_counts(*numbers: Any) -> bool:
    return all(type(number) is int and number >= 0 for number in numbers)
