"""TFLite Metadata, read by numbers of the published schema's fields.

tflite-support 0.4.4, which is no dependency, reads such files alike, and its image
classifier answers as Keras does; tried by hand on 2026-11-23.
"""

import numpy as np
import pytest
import tensorflow as tf
from flatbuffers import encode, number_types
from flatbuffers.table import Table

from larq_insta import models, runtime
from larq_insta.conversion import lowering
from larq_insta.data.preprocessing import photo_preprocessing
from larq_insta.rewriting.float_weights import store, unpack
from larq_insta.version import installed_versions
from larq_insta_runtime.card import Card
from larq_insta_runtime.metadata import with_metadata
from larq_insta_runtime.preprocessing import Preprocessing

RGB, GREY = 1, 2
PHOTO = photo_preprocessing(16)


class Reader:
    """A table of a flatbuffer; fields are called by their numbers."""

    def __init__(self, data, position):
        self.table = Table(data, position)

    @classmethod
    def root(cls, data):
        return cls(data, encode.Get(number_types.UOffsetTFlags.packer_type, data, 0))

    def _at(self, field):
        return self.table.Offset(4 + 2 * field)

    def text(self, field):
        return self.table.String(self._at(field) + self.table.Pos).decode()

    def number(self, field):
        return self.table.GetSlot(4 + 2 * field, 0, number_types.Int8Flags)

    def floats(self, field):
        return self.table.GetVectorAsNumpy(number_types.Float32Flags, self._at(field))

    def one(self, field):
        return Reader(self.table.Bytes, self.table.Indirect(self._at(field) + self.table.Pos))

    def only(self, field):
        assert self.table.VectorLen(self._at(field)) == 1
        return Reader(self.table.Bytes, self.table.Indirect(self.table.Vector(self._at(field))))


@pytest.fixture(scope="module")
def content():
    tf.keras.backend.clear_session()
    model = models.get("ReActNet18")(
        input_shape=(16, 16, 3), stem="small", num_classes=3, filters=(32,)
    )
    return lowering.lower(model)


def card(preprocessing=PHOTO):
    return Card(
        "InstaResNet18", {}, "digits", ("a", "b", "ç"), preprocessing, versions=installed_versions()
    )


def metadata(content):
    model = unpack(content)
    (entry,) = (entry for entry in model.metadata if entry.name == b"TFLITE_METADATA")
    return model.buffers[entry.buffer].data.tobytes()


def image_of(content):
    return Reader.root(metadata(content)).only(3).only(2)


def test_the_model_is_described(content):
    data = metadata(with_metadata(content, card()))
    assert data[4:8] == b"M001"
    model = Reader.root(data)
    assert model.text(0) == "InstaResNet18"
    assert "3 classes of digits" in model.text(1)
    assert model.text(2).startswith("larq_insta 0.")
    assert model.text(4) == "larq_insta"
    assert model.only(6).text(0) == "larq_insta.json"
    assert model.text(7) == "1.0.0"


def test_tools_find_the_names_of_classes(content):
    output = Reader.root(metadata(with_metadata(content, card()))).only(3).only(3)
    assert output.text(0) == "probabilities"
    assert output.one(3).number(0) == 1  # features
    labels, axis_labels = output.only(6), 2
    assert (labels.text(0), labels.number(2)) == ("labels.txt", axis_labels)


@pytest.mark.parametrize(
    ("pre", "space"),
    [
        (PHOTO, RGB),
        (Preprocessing(16, 3), RGB),
        (Preprocessing(16, 1), GREY),
    ],
)
def test_tools_find_the_scaling(content, pre, space):
    image = image_of(with_metadata(content, card(pre)))
    assert image.text(0) == "image"
    kind, properties = image.one(3).number(0), image.one(3).one(1)
    assert (kind, properties.number(0)) == (2, space)  # a picture
    assert image.only(4).number(0) == 1  # normalization
    mean, std = (image.only(4).one(1).floats(field) for field in (0, 1))
    pixels = np.array([0, 7, 255], np.uint8)[:, None] * np.ones(pre.channels, np.uint8)
    ours = pre.normalize(pixels)
    np.testing.assert_allclose((pixels - mean) / std, ours, rtol=1e-5, atol=1e-6)
    most, least = (np.broadcast_to(image.one(5).floats(field), pre.channels) for field in (0, 1))
    np.testing.assert_allclose([least, most], ours[[0, 2]], rtol=1e-5)
    assert len(mean) == len(std)


def test_words_say_what_fields_cannot(content):
    words = image_of(with_metadata(content, card(photo_preprocessing(96, 1, "bicubic")))).text(1)
    assert "centre square of a picture, 0.875 of its shorter side" in words
    assert "resized to 96 x 96 pixels (bicubic, not antialiased), grey," in words
    assert "(pixel - mean) / std" in words


def test_input_and_output_have_names(content):
    model = unpack(with_metadata(content, card()))
    graph, (signature,) = model.subgraphs[0], model.signatureDefs
    for ends, maps, name in (
        (graph.inputs, signature.inputs, b"image"),
        (graph.outputs, signature.outputs, b"probabilities"),
    ):
        assert [graph.tensors[i].name for i in ends] == [name]
        assert [(entry.name, entry.tensorIndex) for entry in maps] == [(name, ends[0])]


def test_again_it_takes_the_place_of_the_former(content):
    once = with_metadata(with_metadata(content, card(Preprocessing(16, 3))), card())
    assert once == with_metadata(with_metadata(content, card()), card())
    assert metadata(once) == metadata(with_metadata(content, card()))


def test_all_else_is_as_it_was(content):
    before, after = unpack(content), unpack(with_metadata(content, card()))
    assert [entry.name for entry in after.metadata] == [b"min_runtime_version", b"TFLITE_METADATA"]
    tensors = [model.subgraphs[0].tensors for model in (before, after)]
    for old, new in zip(*tensors, strict=True):
        data = [m.buffers[t.buffer].data for m, t in ((before, old), (after, new))]
        assert np.array_equal(*data)
    for old, new in zip(before.subgraphs[0].operators, after.subgraphs[0].operators, strict=True):
        assert np.array_equal(old.inputs, new.inputs)
        assert np.array_equal(old.customOptions, new.customOptions)


@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_it_goes_with_smaller_weights(content, kind):
    described = with_metadata(content, card())
    smaller = store(described, kind)
    assert len(smaller) < len(described)
    assert metadata(smaller) == metadata(described)
    assert with_metadata(store(content, kind), card()) == smaller


def test_the_file_runs_and_carries_its_card(content, rng, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(with_metadata(content, card()))
    card().append_to(path)
    x = rng.normal(size=(2, 16, 16, 3)).astype(np.float32)
    model = runtime.LiteModel(path)
    assert model.card == card()
    np.testing.assert_array_equal(model.predict(x), runtime.Interpreter(content).predict(x))
