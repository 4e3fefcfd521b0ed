"""Files made to do harm: none runs code, reads other files, or gets to the interpreter."""

import copy
import io
import json
import zipfile

import h5py
import pytest
import tensorflow as tf

from larq_insta import runtime
from larq_insta.checkpoints import contents, keras_files
from larq_insta.zoo import pretrained
from larq_insta_runtime import checks, flatbuffer, packaged
from larq_insta_runtime.errors import InputError

LITE = packaged.converted("fashion_mnist").read_bytes()


def tiny():
    return tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(2, name="dense")])


@pytest.fixture
def archive(tmp_path):
    """Writes a small model's `.keras` file, with a layer's configuration or members changed."""

    def write(layer=None, members=None):
        buffer = io.BytesIO()
        path = tmp_path / "whole.keras"
        tiny().save(path)
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(buffer, "w") as target:
            for name in source.namelist():
                content = source.read(name)
                if layer and name == "config.json":
                    config = json.loads(content)
                    config["config"]["layers"][1].update(layer)
                    content = json.dumps(config).encode()
                target.writestr(name, content)
            for name, content in (members or {}).items():
                target.writestr(name, content)
        changed = tmp_path / "changed.keras"
        changed.write_bytes(buffer.getvalue())
        return changed

    return write


def test_what_was_not_changed_is_read(archive):
    assert [layer.name for layer in keras_files.load(archive()).layers] == ["dense"]


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_lambda_layers_are_refused(suffix, tmp_path):
    path = tmp_path / f"model.{suffix}"
    touch = tf.keras.layers.Lambda(lambda x: x + 1)
    tf.keras.Sequential([tf.keras.Input((3,)), touch]).save(path)
    with pytest.raises(InputError, match=r"holds code \(.*\): rebuild the model without it"):
        keras_files.load(path)


FOREIGN = {
    "a module": {"class_name": "Popen", "module": "larq_insta_marker"},
    "a function": {"class_name": "function", "module": "os", "config": "system"},
    "a dotted name": {"class_name": "utils.get_file", "module": "keras"},
    "a hidden Lambda": {"class_name": "layers.Lambda", "module": "keras"},
    "a SavedModel": {"class_name": "TFSMLayer", "module": "keras.layers"},
    "a vocabulary": {"class_name": "StringLookup", "module": "keras.layers"},
    "a file's writer": {
        "class_name": "TFOpLambda",
        "module": "keras.src.layers.core.tf_op_layer",
        "config": {"name": "write", "function": "io.write_file"},
    },
    "no function": {
        "class_name": "TFOpLambda",
        "module": "keras.src.layers.core.tf_op_layer",
        "config": [],
    },
    "a type": {"class_name": "__typespec__", "spec_name": "X", "module": "os"},
    "a number": {"class_name": 3, "module": "keras.layers"},
}


@pytest.mark.parametrize("layer", FOREIGN.values(), ids=FOREIGN)
def test_foreign_parts_are_refused(layer, archive, tmp_path, monkeypatch):
    (tmp_path / "larq_insta_marker.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    path = archive(layer)
    with pytest.raises(InputError, match="must hold known layers and arrays alone"):
        keras_files.load(path)
    assert not (tmp_path / "run").exists()


def test_foreign_parts_deep_inside_are_refused(archive):
    dense = {"config": {"units": 2, "activation": {"a": [{"class_name": "X", "module": "os"}]}}}
    with pytest.raises(InputError, match="X of the module os"):
        keras_files.load(archive(dense))


@pytest.mark.parametrize("name", ["../outside.txt", "assets/layer/file", "/tmp/x", "config.json"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_other_members_are_refused(name, archive):
    with pytest.raises(InputError, match="must have the members"):
        keras_files.load(archive(members={name: "{}"}))


def test_what_unpacks_to_too_much_is_refused(archive, monkeypatch):
    path = archive(members={"larq_insta.json": bytes(10_000)})
    monkeypatch.setattr(contents, "LARGEST", 9_000)
    with pytest.raises(InputError, match="at most 9,000 bytes"):
        contents.check_here(path)


def test_a_file_that_crashes_its_reader_does_not_crash_us(archive, tmp_path, monkeypatch):
    (tmp_path / "h5py.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"is damaged \(reading it ends with code -11\)"):
        keras_files.load(archive())


def test_a_file_that_takes_for_ever_is_given_up(archive, monkeypatch):
    path = archive()
    monkeypatch.setattr(contents, "PATIENCE", 0.001)
    with pytest.raises(InputError, match=r"is damaged \(reading it takes longer than"):
        keras_files.load(path)


def external_link(file, other):
    file["a"] = h5py.ExternalLink(str(other), "/a")


def soft_link(file, _other):
    file["a"] = h5py.SoftLink("/b")


def external_array(file, other):
    file.create_dataset("a", (4,), "u1", external=[(str(other), 0, 4)])


def enormous_array(file, _other):
    file.create_dataset("a", (1 << 40,), "f4", chunks=(1 << 10,))


def ring(file, _other):
    file.create_group("a")["again"] = file


@pytest.mark.parametrize(
    ("prank", "message"),
    [
        (external_link, "has a link at //a"),
        (soft_link, "has a link at //a"),
        (external_array, "in another file"),
        (enormous_array, "must unpack to at most"),
        (ring, "has weights alone"),
    ],
)
def test_arrays_must_lie_in_the_file(prank, message, tmp_path):
    (tmp_path / "other").write_bytes(b"secret")
    with h5py.File(tmp_path / "model.h5", "w") as file:
        prank(file, tmp_path / "other")
    with pytest.raises(InputError, match=message):
        keras_files.load(tmp_path / "model.h5")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The `keras.initializers.serialize")
@pytest.mark.parametrize("name", ["MobileNetV3Small", "EfficientNetV2B0", "ConvNeXtTiny"])
def test_models_of_keras_are_harmless(name, tmp_path):
    model = getattr(tf.keras.applications, name)(weights=None, input_shape=(32, 32, 3), classes=3)
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    model.save(tmp_path / "model.keras")
    # Not `keras_files.load`: Keras itself cannot read back a ConvNeXt.
    contents.check_here(tmp_path / "model.keras")


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


def card_changed(path, target, **changes):
    with zipfile.ZipFile(path) as source:
        members = {name: source.read(name) for name in source.namelist()}
    card = json.loads(members["larq_insta.json"]) | changes
    members["larq_insta.json"] = json.dumps(card).encode()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target


PREPROCESSING = {"size": 28, "channels": 1}
CARDS = [
    ({"preprocessing": PREPROCESSING | {"size": 27}}, "must be that of its network"),
    ({"preprocessing": PREPROCESSING | {"channels": 3}}, "must be that of its network"),
    ({"preprocessing": PREPROCESSING | {"size": "28"}}, "`size` of a preprocessing must be"),
    ({"preprocessing": PREPROCESSING | {"size": 10**9}}, "`size` of a preprocessing must be"),
    ({"preprocessing": PREPROCESSING | {"crop": 0}}, "`crop` of a preprocessing must be"),
    ({"preprocessing": PREPROCESSING | {"mean": [1, 2]}}, "`mean` of a preprocessing must be"),
    ({"preprocessing": PREPROCESSING | {"std": [0]}}, "`std` of a preprocessing must be"),
    ({"preprocessing": PREPROCESSING | {"std": ["x"]}}, "`std` of a preprocessing must be"),
    ({"preprocessing": PREPROCESSING | {"resampling": 3}}, "`resampling` of a preprocessing"),
    ({"preprocessing": {"shape": 28}}, "of another version"),
    ({"preprocessing": 3}, "of another version"),
    ({"class_names": ["a", "b"]}, "must be that of its network"),
    ({"class_names": [1] * 10}, "is damaged: class_names"),
    ({"class_names": None}, "of another version"),
    ({"dataset": 7}, "is damaged: dataset"),
    ({"training": []}, "is damaged: training"),
    ({"surprise": 1}, "of another version"),
]


@pytest.mark.parametrize(("changes", "message"), CARDS)
def test_cards_must_fit_their_networks(changes, message, tmp_path):
    original = pretrained.checkpoint("fashion_mnist")
    with pytest.raises(InputError, match=message):
        runtime.KerasModel(card_changed(original, tmp_path / "model.keras", **changes))


def test_cards_of_converted_files_must_fit_too(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(flatbuffer.pack(flatbuffer.unpack(LITE)))
    card = runtime.LiteModel(packaged.converted("fashion_mnist")).card
    card.__class__(**{**card.__dict__, "class_names": ("a", "b")}).append_to(path)
    with pytest.raises(InputError, match=r"takes \(1, 28, 28, 1\) and gives \(1, 10\), its card"):
        runtime.open_model(path)
