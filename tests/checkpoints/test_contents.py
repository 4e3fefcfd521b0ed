"""Checkpoints made to do harm: none runs code or reads other files."""

import io
import json
import zipfile

import h5py
import pytest
import tensorflow as tf

from larq_insta.checkpoints import contents, keras_files
from larq_insta_runtime.errors import InputError


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
