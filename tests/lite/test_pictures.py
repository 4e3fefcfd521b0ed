"""Pictures of every kind that cameras, browsers and scanners write."""

import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from larq_insta.data import fetching
from larq_insta.lite import pictures
from larq_insta.lite.errors import InputError

LEFT, RIGHT = (200, 30, 60), (20, 90, 160)
GREY = [round(0.299 * r + 0.587 * g + 0.114 * b) for r, g, b in (LEFT, RIGHT)]


@pytest.fixture
def image():
    """One colour to the left, another to the right; wider than high."""
    pixels = np.empty((16, 32, 3), np.uint8)
    pixels[:, :16], pixels[:, 16:] = LEFT, RIGHT
    return Image.fromarray(pixels)


def read(image, path, channels, **options):
    image.save(path, **options)
    return pictures.read(path, channels)


def fetched(path):
    """As data sets read it."""
    contents = fetching.fetch(tf.constant(os.fsencode(path)), channels=3)
    return tf.io.decode_image(contents, channels=3, expand_animations=False).numpy()


def assert_halves(pixels, channels, tolerance=0):
    assert pixels.shape == (16, 32, channels)
    assert pixels.dtype == np.uint8
    wanted = (LEFT, RIGHT) if channels == 3 else GREY
    for half, color in zip((pixels[:, :14], pixels[:, 18:]), wanted, strict=True):
        assert np.abs(half.astype(int) - np.array(color)).max() <= tolerance


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "mode", "tolerance"),
    [
        ("x.png", "RGB", 0),
        ("x.png", "P", 1),
        ("x.png", "RGBA", 0),
        ("x.bmp", "RGB", 0),
        ("x.gif", "P", 1),
        ("x.webp", "RGB", 8),
        ("x.jpg", "RGB", 3),
        ("x.jpg", "CMYK", 12),
    ],
)
def test_colours_arrive(image, tmp_path, name, mode, tolerance, channels):
    palette = {"palette": Image.Palette.ADAPTIVE} if mode == "P" else {}
    pixels = read(image.convert(mode, **palette), tmp_path / name, channels)
    assert_halves(pixels, channels, tolerance)
    assert_halves(fetched(tmp_path / name), 3, tolerance)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_arrives(image, tmp_path, mode, channels):
    grey = image.convert("L")
    if mode == "I;16":
        grey = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    pixels = read(grey if mode == "I;16" else grey.convert(mode), tmp_path / "x.png", channels)
    for half, value in zip((pixels[:, :16], pixels[:, 16:]), GREY, strict=True):
        assert np.all(half == value)
    np.testing.assert_array_equal(fetched(tmp_path / "x.png"), pictures.read(tmp_path / "x.png", 3))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_what_the_camera_says(image, tmp_path, orientation):
    turns = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    for turn in turns[orientation]:  # what the sensor saw
        image = image.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert_halves(read(image, tmp_path / "x.jpg", 3, exif=exif, quality=95), 3, 3)
    assert_halves(fetched(tmp_path / "x.jpg"), 3, 3)


def test_transparency_is_white(image, tmp_path):
    clear = image.convert("RGBA")
    clear.putalpha(Image.fromarray(np.repeat(np.uint8([[0] * 16 + [255] * 16]), 16, 0)))
    pixels = read(clear, tmp_path / "x.png", 3)
    assert np.all(pixels[:, :16] == 255)
    assert np.all(pixels[:, 16:] == RIGHT)
    np.testing.assert_array_equal(fetched(tmp_path / "x.png"), pixels)


def test_the_first_picture_of_an_animation_counts(image, tmp_path):
    later = [Image.new("RGB", image.size, "white")] * 2
    options = {"save_all": True, "append_images": later}
    assert_halves(read(image, tmp_path / "x.gif", 3, **options), 3, 2)
    assert_halves(fetched(tmp_path / "x.gif"), 3, 2)


def test_photographs_are_what_tensorflow_decodes(tmp_path, rng):
    noise = Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8))
    found = read(noise.resize((64, 64)), tmp_path / "x.jpg", 3, quality=95)
    expected = tf.io.decode_image(tf.io.read_file(str(tmp_path / "x.jpg")), channels=3).numpy()
    assert np.abs(found.astype(int) - expected).mean() < 2


def test_names_need_not_be_unicode(image, tmp_path):
    path = tmp_path / "k\udcfcste.png"
    assert_halves(read(image, path, 3), 3)
    assert_halves(fetched(path), 3)


def test_data_sets_read_plain_photographs_as_they_are(image, tmp_path):
    image.save(tmp_path / "x.jpg")
    contents = fetching.fetch(tf.constant(str(tmp_path / "x.jpg")), channels=3).numpy()
    assert contents == (tmp_path / "x.jpg").read_bytes()


def cut(path, image):
    image.save(path)
    path.write_bytes(path.read_bytes()[:-40])


DAMAGED = {
    "is none or is damaged": {
        "cut.png": cut,
        "cut.jpg": cut,
        "cut.bmp": cut,
        "empty.png": lambda path, _: path.write_bytes(b""),
        "text.jpg": lambda path, _: path.write_text("no picture"),
        "scan.tiff": lambda path, image: image.save(path),
    },
    "must exist; got": {"missing.png": lambda path, _: None},
    "must be a file; .* is a folder": {"folder.png": lambda path, _: path.mkdir()},
    "at most 89,478,485 pixels; .* has more": {
        "bomb.png": lambda path, _: Image.new("1", (20000, 20000)).save(path),
        "smoke.png": lambda path, _: Image.new("1", (10000, 10000)).save(path),
    },
}


@pytest.mark.parametrize(
    ("words", "name"), [(words, name) for words, files in DAMAGED.items() for name in files]
)
def test_other_files_are_refused_in_one_line(image, tmp_path, words, name):
    DAMAGED[words][name](tmp_path / name, image)
    with pytest.raises(InputError, match=words) as raised:
        pictures.read(tmp_path / name, 3)
    assert "\n" not in str(raised.value)
