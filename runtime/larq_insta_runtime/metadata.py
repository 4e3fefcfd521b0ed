"""TFLite Metadata, in which Android's tools and the Task Library find classes and scaling.

Their own writer, tflite-support, has 60 MB, needs libusb and does not exist for Windows, ARM
and Apple's processors; the little that it would write is written here, by its schema 1.0.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np

from larq_insta_runtime.card import Card
from larq_insta_runtime.engine import schema
from larq_insta_runtime.flatbuffer import pack, unpack
from larq_insta_runtime.preprocessing import Preprocessing

INPUT, OUTPUT = "image", "probabilities"

_NAME = b"TFLITE_METADATA"
_IDENTIFIER = b"M001"
_PARSER_VERSION = "1.0.0"  # of all that is used here
_FIELDS = {
    "ModelMetadata": [
        "name",
        "description",
        "version",
        "subgraph_metadata",
        "author",
        "license",
        "associated_files",
        "min_parser_version",
    ],
    "SubGraphMetadata": ["name", "description", "input_tensor_metadata", "output_tensor_metadata"],
    "TensorMetadata": [
        "name",
        "description",
        "dimension_names",
        "content",
        "process_units",
        "stats",
        "associated_files",
    ],
    "Content": ["content_properties_type", "content_properties", "range"],
    "FeatureProperties": [],
    "ImageProperties": ["color_space", "default_size"],
    "ProcessUnit": ["options_type", "options"],
    "NormalizationOptions": ["mean", "std"],
    "Stats": ["max", "min"],
    "AssociatedFile": ["name", "description", "type", "locale"],
}
_FEATURE, _IMAGE = 1, 2  # types of content
_NORMALIZATION = 1  # type of a process unit
_DESCRIPTIONS, _AXIS_LABELS = 1, 2  # types of files
_COLOURS = {1: ("grey", 2), 3: ("RGB", 1)}
_RESAMPLING = {"bilinear": "bilinear, antialiased", "bicubic": "bicubic, not antialiased"}


@dataclass(frozen=True)
class _Table:
    """A table of the schema, and the fields that it shall have."""

    name: str
    fields: dict[str, Any]


def with_metadata(content: bytes, card: Card) -> bytes:
    """Says in a converted model what it takes and gives, in place of what it said before.

    Its input is called "image" then and its output "probabilities". `card.append_to` has to
    add the files that are named.

    # Arguments
        content: A converted model without a card, with one input and one output.
        card: What is said.
    """
    model = unpack(content)
    graph = model.subgraphs[0]
    pixels = graph.tensors[graph.inputs[0]].type == schema.TensorType.UINT8
    _set_buffer(model, _NAME, _packed(_model(card, _needs(model), pixels)))
    graph.tensors[graph.inputs[0]].name = INPUT
    graph.tensors[graph.outputs[0]].name = OUTPUT
    for signature in model.signatureDefs or ():
        signature.inputs[0].name, signature.outputs[0].name = INPUT, OUTPUT
    return pack(model)


def _set_buffer(model: schema.ModelT, name: bytes, data: bytes) -> None:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(data, np.uint8)
    model.metadata = model.metadata or []
    for entry in model.metadata:
        if entry.name == name:
            model.buffers[entry.buffer] = buffer
            return
    entry = schema.MetadataT()
    entry.name, entry.buffer = name, len(model.buffers)
    model.metadata.append(entry)
    model.buffers.append(buffer)


def _needs(model: schema.ModelT) -> str:
    if any(code.customCode for code in model.operatorCodes):
        return "It needs Larq Compute Engine's operators."
    return "It needs TensorFlow Lite's own operators only."


def _model(card: Card, needs: str, pixels: bool) -> _Table:
    return _Table(
        "ModelMetadata",
        {
            "name": card.model,
            "description": f"A binary network that tells {len(card.class_names)} classes of "
            f"{card.dataset}. {needs}",
            "version": f"larq_insta {card.versions.get('larq_insta', '')}",
            "author": "larq_insta",
            "subgraph_metadata": [
                _Table(
                    "SubGraphMetadata",
                    {
                        "input_tensor_metadata": [_image(card.preprocessing, pixels)],
                        "output_tensor_metadata": [_probabilities()],
                    },
                )
            ],
            "associated_files": [
                _file("larq_insta.json", "Where the model comes from.", _DESCRIPTIONS)
            ],
            "min_parser_version": _PARSER_VERSION,
        },
    )


def _image(pre: Preprocessing, pixels: bool) -> _Table:
    given = ((0.0,), (1.0,)) if pixels else (pre.mean, pre.std)
    mean, std = np.broadcast_arrays(*(np.array(v, np.float32) for v in given))
    numbers = "in pixels" if pixels else "and normalized: (pixel - mean) / std, pixels"
    colours, space = _COLOURS[pre.channels]
    normalization = _Table("NormalizationOptions", {"mean": mean, "std": std})
    return _Table(
        "TensorMetadata",
        {
            "name": INPUT,
            "description": f"The centre square of a picture, {pre.crop:.4g} of its shorter side, "
            f"resized to {pre.size} x {pre.size} pixels ({_RESAMPLING[pre.resampling]}), "
            f"{colours}, {numbers} from 0 to 255.",
            "content": _content(_IMAGE, _Table("ImageProperties", {"color_space": space})),
            "process_units": [
                _Table("ProcessUnit", {"options_type": _NORMALIZATION, "options": normalization})
            ],
            "stats": _Table("Stats", {"max": (255 - mean) / std, "min": (0 - mean) / std}),
        },
    )


def _probabilities() -> _Table:
    ones = np.ones(1, np.float32)
    return _Table(
        "TensorMetadata",
        {
            "name": OUTPUT,
            "description": "Of each class; together they are 1.",
            "content": _content(_FEATURE, _Table("FeatureProperties", {})),
            "stats": _Table("Stats", {"max": ones, "min": 0 * ones}),
            "associated_files": [
                _file("labels.txt", "Names of the classes, one a line.", _AXIS_LABELS)
            ],
        },
    )


def _content(kind: int, properties: _Table) -> _Table:
    return _Table("Content", {"content_properties_type": kind, "content_properties": properties})


def _file(name: str, description: str, kind: int) -> _Table:
    return _Table("AssociatedFile", {"name": name, "description": description, "type": kind})


def _packed(table: _Table) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(_offset(builder, table), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _offset(builder: flatbuffers.Builder, value: Any) -> int:
    """Writes a string, table, vector of numbers or vector of tables; returns where it is."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value, _Table):
        return _table_offset(builder, value)
    offsets = [_offset(builder, part) for part in value]
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _table_offset(builder: flatbuffers.Builder, table: _Table) -> int:
    # Whole numbers are enumerations, which stand in the table itself.
    offsets = {
        name: value if isinstance(value, int) else _offset(builder, value)
        for name, value in table.fields.items()
    }
    names = _FIELDS[table.name]
    builder.StartObject(len(names))
    for name, value in table.fields.items():
        if isinstance(value, int):
            builder.PrependInt8Slot(names.index(name), value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(names.index(name), offsets[name], 0)
    return builder.EndObject()
