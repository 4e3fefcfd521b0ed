"""What the package's model of photographs does with test pictures, and with others.

python studies/photographs/limits.py IMAGENETTE/test
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from larq_insta_runtime import Model, packaged
from larq_insta_runtime.pictures import read

SURE = 0.9


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
    right = answers.argmax(-1) == labels
    yield "right", right.mean()
    yield "right or second", np.mean((np.argsort(answers)[:, -2:] == labels[:, np.newaxis]).any(-1))
    for label, name in enumerate(model.card.class_names):
        yield f"right of {name}", right[labels == label].mean()
    grey = np.rint(images @ np.array([0.299, 0.587, 0.114]))[..., np.newaxis]
    changed = {
        "mirrored": images[:, :, ::-1],
        "grey": np.repeat(grey, 3, -1).astype(np.uint8),
        "half as bright": images // 2,
        "of 24 x 24 pixels": shrunk(images, images.shape[1] // 4),
        "turned by 90 degrees": np.rot90(images, axes=(1, 2)),
        "upside down": images[:, ::-1],
    }
    for name, others in changed.items():
        yield f"right, {name}", (model.predict(others).argmax(-1) == labels).mean()
    sure = answers.max(-1) > SURE
    yield "above 90 %", sure.mean()
    yield "right above 90 %", right[sure].mean()
    noise = np.random.default_rng(0).integers(0, 256, images[:1000].shape, np.uint8)
    yield "above 90 %, noise", (model.predict(noise).max(-1) > SURE).mean()


def main() -> None:
    for name, share in figures(Path(sys.argv[1])):
        sys.stdout.write(f"{share:8.2%}  {name}\n")


if __name__ == "__main__":
    main()
