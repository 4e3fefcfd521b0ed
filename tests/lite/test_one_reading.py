"""A picture's file is the same picture for `predict` and in data sets, whatever is in it."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from fuzzing import mutated
from PIL import Image

from larq_insta.data import fetching, preprocessing
from larq_insta.lite import pictures
from larq_insta.lite.errors import InputError
from larq_insta.lite.preprocessing import Preprocessing

MUTATIONS = int(os.environ.get("LARQ_INSTA_MUTATIONS", "20"))

SIXTH = struct.pack("<HHII", 0x0112, 3, 1, 6)
"""That the picture lies on its side, as EXIF data say it."""


def exif(*entries, start=b"II*\0\x08\0\0\0"):
    return start + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)


def chunk(kind, data, checksum=None):
    checksum = zlib.crc32(kind + data) if checksum is None else checksum
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def png(pixels, colour, depth, *remarks):
    """A PNG file of whole numbers `(height, width, channels)` of this depth."""
    height, width, _ = pixels.shape
    bits = (pixels.reshape(height, -1, 1) >> np.arange(depth)[::-1]) & 1
    rows = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = [chunk(b"IHDR", header), *remarks, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def inserted(jpeg, kind, data):
    """A JPEG file with one more part at the start."""
    return jpeg[:2] + bytes([0xFF, kind]) + struct.pack(">H", len(data) + 2) + data + jpeg[2:]


@pytest.fixture
def image(rng):
    noise = Image.fromarray(rng.integers(0, 256, (6, 10, 3)).astype(np.uint8))
    return noise.resize((40, 24))


@pytest.fixture
def readings(tmp_path):
    """What `predict` and what data sets see in a file; `None` if it is refused."""

    def read(contents, channels=3):
        path = tmp_path / "picture"
        path.write_bytes(contents)
        found = []
        for road in (pictures.read, in_data_sets):
            try:
                found.append(road(path, channels))
            except (InputError, tf.errors.InvalidArgumentError):
                found.append(None)
        return found

    return read


def in_data_sets(path, channels):
    contents = fetching.fetch(tf.constant(str(path)), channels)
    return preprocessing.decode(Preprocessing(8, channels), contents).numpy()


def both(found):
    """The one picture of both readings."""
    assert found[0] is not None
    np.testing.assert_array_equal(*found)
    return found[0]


KINDS = {
    "coarse colours": lambda image: saved(image, "JPEG", subsampling=2),
    "fine colours": lambda image: saved(image, "JPEG", subsampling=0),
    "red, green and blue": lambda image: saved(image, "JPEG", keep_rgb=True),
    "progressive": lambda image: saved(image, "JPEG", progressive=True),
    "restarts": lambda image: saved(image, "JPEG", restart_marker_blocks=2),
    "grey": lambda image: saved(image.convert("L"), "JPEG"),
    "inks": lambda image: saved(image.convert("CMYK"), "JPEG"),
    "inks by Adobe": lambda image: inserted(
        saved(image.convert("CMYK"), "JPEG"), 0xEE, b"Adobe\0\x64\0\0\0\0\2"
    ),
    "PNG": lambda image: saved(image, "PNG"),
    "PNG's palette": lambda image: saved(image.convert("P"), "PNG"),
    "APNG": lambda image: saved(image, "PNG", save_all=True, append_images=[image.rotate(9)]),
    "GIF": lambda image: saved(image, "GIF", save_all=True, append_images=[image.rotate(9)]),
    "WebP": lambda image: saved(image, "WEBP", save_all=True, append_images=[image.rotate(9)]),
    "BMP": lambda image: saved(image.convert("RGBA"), "BMP"),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_one_reading(image, readings, kind, channels):
    pixels = both(readings(KINDS[kind](image), channels))
    assert pixels.shape == (24, 40, channels)


@pytest.mark.parametrize(
    ("colour", "depth"), [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16)]
)
def test_transparent_values_are_white_at_every_depth(rng, readings, colour, depth):
    pixels = rng.integers(0, 2**depth, (6, 9, 1 if colour == 0 else 3))
    pixels[2:4] = hidden = pixels[2, 3]
    value = chunk(b"tRNS", hidden.astype(">u2").tobytes())
    found = both(readings(png(pixels, colour, depth, value)))
    clear = (pixels == hidden).all(-1)
    assert np.all(found[clear] == 255)
    opaque = pixels[~clear] * (255 / (2**depth - 1))
    np.testing.assert_allclose(found[~clear], np.broadcast_to(opaque, (len(opaque), 3)), atol=1)


DAMAGED_EXIF = {
    "none": b"",
    "text": b"Exif\0\0no numbers at all",
    "beyond its end": exif(SIXTH, start=b"II*\0\xff\xff\xff\x7f"),
    "cut off": exif(SIXTH)[:-9],
    "no orientation": exif(struct.pack("<HHII", 0x0112, 3, 1, 77)),
    "a text for a number": exif(struct.pack("<HHI4s", 0x0112, 2, 2, b"6\0\0\0")),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("data", DAMAGED_EXIF.values(), ids=DAMAGED_EXIF)
def test_damaged_exif_data_damage_no_picture(image, readings, kind, data):
    contents = saved(image, kind, exif=data or b"Exif\0\0")
    np.testing.assert_array_equal(
        both(readings(contents)), both(readings(saved(image, kind, exif=b"")))
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_counts_whatever_else_is_damaged(image, readings, kind):
    far = struct.pack("<HHII", 0x010F, 2, 100, 0x7FFFFFFF)
    contents = saved(image, kind, exif=b"Exif\0\0" + exif(far, SIXTH), icc_profile=bytes(200_000))
    turned = both(readings(contents))
    np.testing.assert_array_equal(turned, np.rot90(both(readings(saved(image, kind))), -1))


REMARKS = {
    "text that unpacks to megabytes": chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2 << 20))),
    "text packed in an unknown way": chunk(b"zTXt", b"k\0\x07text"),
    "an empty profile": chunk(b"iCCP", b""),
    "a short resolution": chunk(b"pHYs", b"\0"),
    "a wrong checksum": chunk(b"tEXt", b"a\0b", checksum=1),
    "EXIF data with a wrong checksum": chunk(b"eXIf", exif(SIXTH), checksum=1),
    "no animation": chunk(b"acTL", b"\0"),
}


@pytest.mark.parametrize("remark", REMARKS.values(), ids=REMARKS)
def test_damaged_remarks_damage_no_png(rng, readings, remark):
    pixels = rng.integers(0, 256, (6, 9, 3))
    np.testing.assert_array_equal(both(readings(png(pixels, 2, 8, remark))), pixels)


@pytest.mark.parametrize(
    ("kind", "data"),
    [(0xE2, b"ICC_PROFILE\0"), (0xEE, b"Adobe"), (0xE2, b"MPF\0text"), (0xED, b"Photoshop 3.0\0")],
)
def test_damaged_remarks_damage_no_jpeg(image, readings, kind, data):
    jpeg = saved(image, "JPEG")
    np.testing.assert_array_equal(both(readings(inserted(jpeg, kind, data))), both(readings(jpeg)))


def test_bombs_are_refused_on_both_roads(image, readings):
    jpeg = bytearray(saved(image, "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = b"\xff\xff\xff\xff"
    assert readings(bytes(jpeg)) == [None, None]


@pytest.mark.parametrize("kind", ["coarse colours", "restarts", "grey", "progressive"])
def test_mutations_have_one_reading_or_none(image, readings, kind):
    original = KINDS[kind](image)
    for number in range(MUTATIONS):
        rng = np.random.default_rng(number)
        contents = mutated(original, rng)
        found = readings(contents if rng.random() < 0.5 else contents[:-2] + b"\xff\xd9", 3)
        if any(pixels is not None for pixels in found):
            both(found)
