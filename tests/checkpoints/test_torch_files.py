"""PyTorch checkpoints, written by hand opcode by opcode, harmless and harmful ones."""

import pickle
import zipfile

import numpy as np
import pytest

from larq_insta.checkpoints import torch_files
from larq_insta_runtime.errors import InputError

VALUES = np.arange(12, dtype=np.float32)


def plain(value):
    return pickle.dumps(value, protocol=2)[2:-1]


def pickled(*parts):
    return b"\x80\x02" + b"".join(parts) + b"."


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def call(function, *arguments):
    return function + b"(" + b"".join(arguments) + b"tR"


def storage(key="0", kind="FloatStorage", length=12, view=None):
    kind = name("torch", kind)
    last = [] if view is None else [plain(view)]
    parts = [plain("storage"), kind, plain(key), plain("cpu"), plain(length), *last]
    return b"(" + b"".join(parts) + b"tQ"


def tensor(of=None, offset=0, size=(12,), stride=(1,)):
    rebuild, hooks = name("torch._utils", "_rebuild_tensor_v2"), call(ORDERED)
    view = [plain(value) for value in (offset, size, stride, False)]
    return call(rebuild, storage() if of is None else of, *view, hooks)


def mapping(entries, start=b"}"):
    return start + b"(" + b"".join(plain(key) + value for key, value in entries.items()) + b"u"


ORDERED = name("collections", "OrderedDict")


def write_zip(path, content, storages, **members):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(content))
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
        for member, data in {"version": "3\n", **members}.items():
            archive.writestr(f"archive/{member}", data)
    return path


def write_legacy(path, content, storages, little_endian=True, version=1001):
    header = (0x1950A86A20F9469CFC6C, version, {"little_endian": little_endian})
    data = b"".join(pickle.dumps(value, protocol=2) for value in header)
    data += pickled(content) + pickle.dumps(list(storages), protocol=2)
    for array in storages.values():
        data += len(array).to_bytes(8, "little") + array.tobytes()
    path.write_bytes(data)
    return path


WRITERS = (write_zip, write_legacy)


@pytest.fixture(params=WRITERS)
def saved(request, tmp_path):
    """Writes what was pickled and, unless given others, one storage of twelve numbers."""

    def save(content, storages=None):
        stored = {"0": VALUES} if storages is None else storages
        return request.param(tmp_path / "weights.pth", content, stored)

    return save


def refused(path, *reasons):
    with pytest.raises(InputError) as caught:
        torch_files.read(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert all(text in message for text in (str(path), *reasons))


def test_views_of_storages_become_contiguous_arrays(saved):
    views = {
        "whole": tensor(),
        "transposed": tensor(size=(4, 3), stride=(1, 4)),
        "part": tensor(offset=5, size=(2, 2), stride=(4, 1)),
        "scalar": tensor(offset=11, size=(), stride=()),
        "column": tensor(size=(1, 2, 1), stride=(2**62, 4, 2**70)),
    }
    arrays = torch_files.read(saved(mapping(views)))
    expected = {
        "whole": VALUES,
        "transposed": VALUES.reshape(3, 4).T,
        "part": [[5, 6], [9, 10]],
        "scalar": 11,
        "column": [[[0], [4]]],
    }
    assert arrays.keys() == expected.keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, expected[key], strict=key == "whole")
        assert array.flags.c_contiguous
        assert array.flags.writeable


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("DoubleStorage", np.float64),
        ("HalfStorage", np.float16),
        ("LongStorage", np.int64),
        ("IntStorage", np.int32),
        ("ByteStorage", np.uint8),
        ("BoolStorage", np.bool_),
    ],
)
def test_types_are_kept(saved, kind, dtype):
    stored = np.array([0, 1, 1], dtype)
    content = mapping({"x": tensor(storage(kind=kind, length=3), size=(3,))})
    np.testing.assert_array_equal(
        torch_files.read(saved(content, {"0": stored}))["x"], stored, strict=True
    )


def test_empty_tensors_are_kept(saved):
    content = mapping({"x": tensor(storage(length=0), size=(3, 0), stride=(1, 1))})
    assert torch_files.read(saved(content, {"0": VALUES[:0]}))["x"].shape == (3, 0)


def test_training_checkpoints_of_parallel_modules_are_unwrapped(saved):
    parameter = call(
        name("torch._utils", "_rebuild_parameter"), tensor(), plain(True), call(ORDERED)
    )
    state = mapping({"module.a": parameter, "module.b": tensor()}, start=call(ORDERED))
    state += plain({"_metadata": {"": {"version": 1}}}) + b"b"
    arrays = torch_files.read(saved(mapping({"epoch": plain(3), "state_dict": state})))
    assert list(arrays) == ["a", "b"]


def test_a_prefix_of_some_names_stays(saved):
    arrays = torch_files.read(saved(mapping({"module.a": tensor(), "b": tensor()})))
    assert list(arrays) == ["module.a", "b"]


@pytest.mark.parametrize("opcode", ["global", "stack_global", "inst"])
@pytest.mark.parametrize(
    ("module", "attribute"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("__builtin__", "eval"),
        ("numpy", "fromfile"),
        ("collections", "OrderedDict.fromkeys"),
        ("torch", "load"),
    ],
)
def test_nothing_but_tensors_is_named_or_called(saved, tmp_path, module, attribute, opcode):
    marker = tmp_path / "executed"
    system = attribute == "system"
    argument = plain(f"touch {marker}" if system else f"open({str(marker)!r}, 'w').close()")
    code = {
        "global": call(name(module, attribute), argument),
        "stack_global": call(plain(module) + plain(attribute) + b"\x93", argument),
        "inst": b"(" + argument + f"i{module}\n{attribute}\n".encode(),
    }[opcode]
    refused(saved(mapping({"x": code})), f"'{module}.{attribute}'")
    assert not marker.exists()


@pytest.mark.parametrize("state", [{"make": 1}, (None, {"make": 1}), (None, {"__call__": 1})])
@pytest.mark.parametrize("function", [ORDERED, name("torch._utils", "_rebuild_tensor_v2")])
def test_a_file_cannot_change_what_the_next_one_calls(saved, function, state):
    refused(saved(mapping({"x": function + plain(state) + b"b"})))
    assert list(torch_files.read(saved(mapping({"x": tensor()}, start=call(ORDERED))))) == ["x"]


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (13,), (1,)),
        (10, (3,), (1,)),
        (12, (), ()),
        (0, (3, 4), (5, 1)),
        (0, (4, 4), (1, 1)),
        (0, (10**5, 10**5), (0, 0)),
        (0, (2,), (2**62,)),
        (0, (2**70,), (1,)),
        (0, (0, 2**70), (1, 1)),
        (11, (2,), (-1,)),
        (-1, (2,), (1,)),
        (0, (-1,), (1,)),
        (0, (-2, -2), (1, 1)),
        (0, (3,), (1, 1)),
        (0, (1,) * 33, (1,) * 33),
        (0, (1.0,), (1,)),
        (0, (True,), (1,)),
        (0, [3], [1]),
        (None, (3,), (1,)),
        (0, None, None),
    ],
)
def test_views_must_lie_within_their_storages(saved, offset, size, stride):
    refused(saved(mapping({"x": tensor(offset=offset, size=size, stride=stride)})))


def test_few_tensors_share_a_storage(saved):
    tied = {key: tensor() for key in "abcd"}
    assert len(torch_files.read(saved(mapping(tied)))) == 4
    refused(saved(mapping({**tied, "e": tensor()})), "larger than their storages")


@pytest.mark.parametrize(
    "wrong",
    [
        storage(length=13),
        storage(length=11),
        storage(length=2**60),
        storage(length=-1),
        storage(length=None),
        storage(kind="QInt8Storage"),
        storage(key=0),
        storage(key="../data.pkl"),
        storage(view=("1", 0, 12)),
        plain(("storage", "torch", "0", "cpu", 12)) + b"Q",
        plain("storage") + b"Q",
        plain(3) + b"Q",
        plain(None),
    ],
)
def test_storages_must_be_in_the_file_as_claimed(saved, wrong):
    refused(saved(mapping({"x": tensor(wrong)})))


def test_a_storage_has_one_size(saved):
    refused(saved(mapping({"x": tensor(), "y": tensor(storage(length=6), size=(6,))})), "two kinds")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (mapping({"x": tensor(), "epoch": plain(3)}), "entry 'epoch' is no tensor but int"),
        (mapping({1: tensor()}), "not all text"),
        (b"r\xff\xff\xff\xff", "more objects"),
        (b"Q", ""),
    ],
)
def test_other_contents_are_refused(saved, content, reason):
    refused(saved(content), reason)


@pytest.mark.parametrize("content", [[1, 2], {}, {"state_dict": 3}, {"state_dict": {}}, "x"])
def test_contents_without_tensors_are_refused(saved, content):
    refused(saved(plain(content), {}), "no dictionary of tensors")


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.6, 0.9, 0.99])
def test_truncated_files_are_refused(saved, share):
    path = saved(mapping({"x": tensor()}))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    refused(path)


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04", b"\x89PNG\r\n", b"no weights\n", b"\x80\x02."]
)
def test_foreign_files_are_refused(tmp_path, data):
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    refused(path)
    refused(tmp_path / "missing.pth", "No such file")
    refused(tmp_path)


def test_big_endian_and_unknown_files_are_refused(tmp_path):
    path, content, stored = tmp_path / "weights.pth", mapping({"x": tensor()}), {"0": VALUES}
    assert list(torch_files.read(write_zip(path, content, stored, byteorder="little"))) == ["x"]
    refused(write_zip(path, content, stored, byteorder="big"), "little-endian")
    refused(write_legacy(path, content, stored, little_endian=False), "little-endian")
    refused(write_legacy(path, content, stored, version=1000), "version")
    refused(write_legacy(path, content, {"1": VALUES}), "list of storages")


def test_archives_with_several_or_compressed_pickles_are_refused(tmp_path):
    path, content = tmp_path / "weights.pth", mapping({"x": tensor()})
    refused(write_zip(path, content, {"0": VALUES}, **{"more/data.pkl": b""}), "2 members")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickled(content))
    refused(path, "compressed")
