"""What the package's trained model does with test pictures, and with what it was not made for.

python studies/fashion_mnist/limits.py /usr/share/datasets/fashion-mnist
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from larq_insta_runtime import Model, packaged

SURE = 0.9


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
    answers = model.predict(images)
    right = answers.argmax(-1) == labels
    yield "right", right.mean()
    for label, name in enumerate(model.card.class_names):
        yield f"right of {name}", right[labels == label].mean()
    changed = {
        "mirrored": images[:, :, ::-1],
        "moved by 4 pixels": np.roll(images, 4, axis=2),
        "upside down": images[:, ::-1],
        "turned by 90 degrees": np.rot90(images, axes=(1, 2)),
        "dark on white": 255 - images,
    }
    for name, others in changed.items():
        yield f"right, {name}", (model.predict(others).argmax(-1) == labels).mean()
    sure = answers.max(-1) > SURE
    yield "above 90 %", sure.mean()
    yield "right above 90 %", right[sure].mean()
    yield "above 90 %, dark on white", (model.predict(255 - images).max(-1) > SURE).mean()
    yield "above 90 %, digits", (model.predict(digits(28)).max(-1) > SURE).mean()


def main() -> None:
    for name, share in figures(Path(sys.argv[1])):
        sys.stdout.write(f"{share:8.2%}  {name}\n")


if __name__ == "__main__":
    main()
