"""What a PyTorch checkpoint's pickle may say: read without importing or calling anything of it.

A pickle may name anything that Python can import and call it. Here a name stands for nothing
but a record of our own: tensors are records until their places in the file are checked, what
trainings keep beside them is one and the same record, and every other name is refused.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np

_MOST_OBJECTS = 2**20
_DTYPES = {
    "torch.DoubleStorage": "<f8",
    "torch.FloatStorage": "<f4",
    "torch.HalfStorage": "<f2",
    "torch.BFloat16Storage": "<u2",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "<i1",
    "torch.ByteStorage": "<u1",
    "torch.BoolStorage": "?",
}
UPPER_HALVES = "torch.BFloat16Storage"
"""Of float32 numbers."""


_DTYPE_NAMES = (
    *("float16", "bfloat16", "float32", "float64"),
    *("bool", "uint8", "int8", "int16", "int32", "int64"),
)
_REMARKS = {
    "argparse.Namespace",
    "types.SimpleNamespace",
    "collections.Counter",
    "collections.defaultdict",
    "datetime.datetime",
    "pathlib.PosixPath",
    "_codecs.encode",
    "numpy.dtype",
    "numpy.ndarray",
    *(
        f"numpy.{core}.multiarray.{name}"
        for core in ("core", "_core")
        for name in ("scalar", "_reconstruct")
    ),
    *(
        f"{module}.{name}"
        for module in ("builtins", "__builtin__")
        for name in ("set", "dict", "list", "int")
    ),
    *(f"torch.{name}" for name in ("Size", "device", *_DTYPE_NAMES)),
}
"""What trainings keep beside tensors: options, counts, metrics."""


class Storage(NamedTuple):
    """`length` numbers in a row that the file has under `key`."""

    kind: str
    key: str
    length: int

    @property
    def dtype(self) -> str:
        return _DTYPES[self.kind]

    @property
    def nbytes(self) -> int:
        return self.length * np.dtype(self.dtype).itemsize


class Tensor(NamedTuple):
    """A view of a storage, as the file claims it: in elements, not yet checked."""

    storage: Storage
    offset: Any
    size: Any
    stride: Any


def load(file: BytesIO, room: int = 0) -> tuple[Any, dict[str, Storage]]:
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
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        if full_name in _DTYPES:
            return full_name
        if full_name in _CALLABLES:
            return _CALLABLES[full_name]
        if full_name in _REMARKS:
            return _Remark
        if module == "torch" and name.endswith("Storage"):
            raise ValueError(f"its numbers are of the kind {full_name!r}, as no weights here")
        raise ValueError(
            f"it names {full_name!r}, as no state dict does, but a whole model or foreign code"
        )

    def persistent_load(self, identity: Any) -> Storage:
        kind, type_name, key, _device, length, *view = identity
        if kind != "storage" or type_name not in _DTYPES or view not in ([], [None]):
            raise ValueError("it refers to something else than a storage")
        if type(key) is not str or not are_counts(length):
            raise ValueError("it has a storage without a name or a size")
        storage = Storage(type_name, key, length)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"it claims two kinds or sizes of the storage {key!r}")
        return storage


class _Callable(NamedTuple):
    """Something that a pickle may call; being a tuple, it has no attributes to set."""

    make: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.make(*args)


class _Remark:
    """Whatever is made of a name in `_REMARKS`; it takes everything and keeps nothing."""

    __slots__ = ()

    def __new__(cls, *_args: Any) -> _Remark:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...


class _OrderedDict(dict):
    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        """Forgets the versions of modules, which state dicts have as an attribute."""


def _tensor(
    storage: Any, offset: Any, size: Any, stride: Any, _requires_grad: Any, _hooks: Any
) -> Tensor:
    if not isinstance(storage, Storage):
        raise TypeError("it has a tensor without a storage")
    return Tensor(storage, offset, size, stride)


def _parameter(tensor: Any, _requires_grad: Any, _hooks: Any) -> Any:
    return tensor


_CALLABLES = {
    "collections.OrderedDict": _Callable(_OrderedDict),
    "torch._utils._rebuild_tensor_v2": _Callable(_tensor),
    "torch._utils._rebuild_parameter": _Callable(_parameter),
}


def are_counts(*numbers: Any) -> bool:
    return all(type(number) is int and number >= 0 for number in numbers)
