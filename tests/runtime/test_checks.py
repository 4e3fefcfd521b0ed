"""Converted files made to do harm: none gets to the interpreter."""

import copy

import pytest

from larq_insta import runtime
from larq_insta_runtime import checks, flatbuffer, packaged
from larq_insta_runtime.errors import InputError

LITE = packaged.converted("fashion_mnist").read_bytes()


def set_(value, *path):
    """Changes one field of the first graph or the model, told by names and numbers."""

    def change(model):
        part = model
        for step in path[:-1]:
            part = part[step] if isinstance(step, int) else getattr(part, step)
        if isinstance(path[-1], int):
            part[path[-1]] = value
        else:
            setattr(part, path[-1], value)

    return change


GRAPH = ("subgraphs", 0)
TWISTED = {
    "tensor 3 has its values in part": set_(10**6, *GRAPH, "tensors", 3, "buffer"),
    "tensor 0 has the shape [0, 28, 28, 1]": set_([0, 28, 28, 1], *GRAPH, "tensors", 0, "shape"),
    "tensor 0 has the shape [-1, 28, 28, 1]": set_([-1, 28, 28, 1], *GRAPH, "tensors", 0, "shape"),
    "bytes of tensors": set_([1 << 30, 28, 28, 1], *GRAPH, "tensors", 0, "shape"),
    "tensor 0 is of the type 5": set_(5, *GRAPH, "tensors", 0, "type"),
    "tensor 0 is sparse, variable": set_(True, *GRAPH, "tensors", 0, "isVariable"),
    "operator 0 of the kind 99": set_(99, *GRAPH, "operators", 0, "opcodeIndex"),
    "operator 0 reads what is not made": set_(10**6, *GRAPH, "operators", 0, "inputs", 0),
    "operator 1 makes what it must not": set_(0, *GRAPH, "operators", 1, "outputs", 0),
    "outputs that nothing makes": set_([10**6], *GRAPH, "outputs"),
    "inputs that are none": set_([10**6], *GRAPH, "inputs"),
    "values outside of the tables": set_(10**6, "buffers", 0, "offset"),
    "operator 0 is WHILE": set_(119, "operatorCodes", 0, "builtinCode"),
}


@pytest.mark.parametrize(("message", "change"), TWISTED.items(), ids=TWISTED)
def test_twisted_tables_are_refused(message, change, tmp_path):
    model = flatbuffer.unpack(LITE)
    change(model)
    builder = flatbuffer._Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path = tmp_path / "twisted.tflite"
    path.write_bytes(bytes(builder.Output()))
    with pytest.raises(InputError) as error:
        runtime.read_content(path)
    assert message in str(error.value)


def test_constants_must_have_the_size_of_their_tensors():
    model = flatbuffer.unpack(LITE)
    constant = next(
        t for t in model.subgraphs[0].tensors if model.buffers[t.buffer].data is not None
    )
    constant.shape = [int(length) + 1 for length in constant.shape]
    with pytest.raises(InputError, match="bytes instead of"):
        checks.check(flatbuffer.pack(model), "it")


def test_tables_that_share_their_parts_are_not_unpacked(monkeypatch):
    monkeypatch.setattr(checks, "_MOST_PARTS", 100)
    monkeypatch.setattr(flatbuffer, "unpack", lambda _: pytest.fail("was unpacked"))
    with pytest.raises(InputError, match=r"is damaged \([0-9,]+ parts\)"):
        checks.check(LITE, "it")


def test_several_graphs_are_refused():
    model = flatbuffer.unpack(LITE)
    model.subgraphs = [model.subgraphs[0], copy.copy(model.subgraphs[0])]
    with pytest.raises(InputError, match="2 graphs instead of one"):
        checks.check(flatbuffer.pack(model), "it")
