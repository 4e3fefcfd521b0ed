"""What the package's model of clothing does with test pictures, and with what it was not made for.

python studies/fashion_mnist/limits.py /usr/share/datasets/fashion-mnist
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # what studies share

from shares import shares, tell

from larq_insta_runtime import Model, packaged


def pictures(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The test pictures and their labels."""
    images = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    pixels = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28, 1)
    return pixels, np.frombuffer(labels, np.uint8, offset=8)


def digits(size: int) -> np.ndarray:
    """Handwritten ones, light on black, which are no clothing."""
    from sklearn.datasets import load_digits

    pixels = (load_digits().images * (255 / 16)).astype(np.uint8)
    return np.stack([np.asarray(Image.fromarray(p).resize((size, size))) for p in pixels])[
        ..., None
    ]


def figures(folder: Path) -> Iterator[tuple[str, float]]:
    """Shares in percent, by what they are of."""
    model = Model(packaged.converted("fashion_mnist"))
    images, labels = pictures(folder)
    dark = 255 - images
    changed = {
        "mirrored": images[:, :, ::-1],
        "moved by 4 pixels": np.roll(images, 4, axis=2),
        "upside down": images[:, ::-1],
        "turned by 90 degrees": np.rot90(images, axes=(1, 2)),
        "dark on white": dark,
    }
    others = {"dark on white": dark, "digits": digits(28)}
    yield from shares(model, model.predict(images), labels, changed, others)


if __name__ == "__main__":
    tell(figures(Path(sys.argv[1])))
