"""Pictures of every common kind, alone, in folders, and none at all."""

from pathlib import Path

import numpy as np
from conftest import TINY, run, without_tracing
from PIL import Image

from larq_insta import runtime
from larq_insta.zoo import pretrained

FASHION = Path("fashion_mnist")


def saved(mode, **options):
    def save(path):
        image = Image.fromarray(np.full((20, 16, 3), 200, np.uint8))
        palette = {"palette": Image.Palette.ADAPTIVE} if mode == "P" else {}
        image.convert(mode, **palette).save(path, **options)

    return save


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    saved("RGB", exif=exif)(path)


def deep(path):
    Image.fromarray(np.full((20, 16), 40_000, np.uint16)).save(path)


ODD = {
    "grey.png": saved("L"),
    "bits.png": saved("1"),
    "palette.png": saved("P"),
    "alpha.png": saved("RGBA"),
    "grey_alpha.png": saved("LA"),
    "deep.png": deep,
    "inks.jpg": saved("CMYK"),
    "turned.jpg": turned,
    "palette.gif": saved("P"),
    "animated.gif": saved("P", save_all=True, append_images=[Image.new("P", (16, 20))] * 2),
    "plain.bmp": saved("RGB"),
    "plain.webp": saved("RGB"),
    "UPPER.JPEG": saved("RGB"),
    "k\udcffste.png": saved("RGB"),
    "two words.png": saved("RGB"),
    "-dash.png": saved("RGB"),
}


def test_pictures_of_every_common_kind_are_answered(tmp_path):
    for name, save in ODD.items():
        save(tmp_path / name)
    lines = run("predict", "fashion_mnist", *(tmp_path / name for name in ODD)).splitlines()
    assert len(lines) == len(ODD)
    assert all("%" in line for line in lines)


def test_a_pixel_is_a_picture(tmp_path):
    Image.new("L", (1, 1)).save(tmp_path / "pixel.png")
    assert "%" in run("predict", "fashion_mnist", tmp_path / "pixel.png")


def test_an_empty_batch_gets_no_answers():
    images = np.zeros((0, 28, 28, 1), np.float32)
    for model in (
        runtime.open_model(FASHION),
        runtime.open_model(FASHION, processes=1),
        runtime.KerasModel(pretrained.checkpoint("fashion_mnist")),
    ):
        assert model.predict(images).shape == (0, 10)


def test_a_folder_of_odd_pictures_trains(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for odd, save in ODD.items():
            save(tmp_path / "set" / name / odd)
        (tmp_path / "set" / name / "notes.txt").write_text("stray")
        (tmp_path / "set" / name / "folder").mkdir()
    options = ("--dataset", tmp_path / "set", "--image-size", 16, "--epochs", 1)
    with without_tracing():
        run("train", *TINY, *options, "--batch-size", 8, "--output", tmp_path / "run")
    assert (tmp_path / "run" / "best.keras").exists()
