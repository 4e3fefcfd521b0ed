"""What the package's model of photographs does with test pictures, and with others.

python studies/photographs/limits.py IMAGENETTE/test
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # what studies share

from shares import shares, tell

from larq_insta_runtime import Model, packaged
from larq_insta_runtime.pictures import read


def pictures(model: Model, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The test pictures as the model is given them, and their labels."""
    files = [
        (file, label)
        for label, name in enumerate(model.card.class_names)
        for file in sorted((folder / name).iterdir())
    ]
    resize = model.card.preprocessing.resize
    images = np.stack([resize(read(file, channels=3)) for file, _ in files])
    return images, np.array([label for _, label in files])


def shrunk(images: np.ndarray, size: int) -> np.ndarray:
    """As small as that, and as large as before again."""
    sides = images.shape[1:3]
    return np.stack(
        [np.asarray(Image.fromarray(x).resize((size, size)).resize(sides)) for x in images]
    )


def figures(folder: Path) -> Iterator[tuple[str, float]]:
    """Shares in percent, by what they are of."""
    model = Model(packaged.converted("imagenette"))
    images, labels = pictures(model, folder)
    answers = model.predict(images)
    first_two = np.argsort(answers)[:, -2:]
    yield "right or second", (first_two == labels[:, np.newaxis]).any(-1).mean()
    grey = np.rint(images @ np.array([0.299, 0.587, 0.114]))[..., np.newaxis]
    changed = {
        "mirrored": images[:, :, ::-1],
        "grey": np.repeat(grey, 3, -1).astype(np.uint8),
        "half as bright": images // 2,
        "of 24 x 24 pixels": shrunk(images, images.shape[1] // 4),
        "turned by 90 degrees": np.rot90(images, axes=(1, 2)),
        "upside down": images[:, ::-1],
    }
    noise = np.random.default_rng(0).integers(0, 256, images[:1000].shape, np.uint8)
    yield from shares(model, answers, labels, changed, {"noise": noise})


if __name__ == "__main__":
    tell(figures(Path(sys.argv[1])))
