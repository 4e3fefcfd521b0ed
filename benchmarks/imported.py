"""How close imported networks of full size, and their files, come to PyTorch on photographs.

    python benchmarks/imported.py PICTURE...

The pictures are photographs, such as Foolbox's imagenet_*.jpg. Both published ReActNets are
built in PyTorch (extra `torch`) as the tests do, with random weights, saved and imported.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import larq_insta  # noqa: F401  # isort: skip  (before TensorFlow: it chooses Keras 2)

import click
import numpy as np
import tensorflow as tf
import torch

from larq_insta import conversion, models, weights
from larq_insta.data import tfds
from larq_insta.data.preprocessing import photo_preprocessing
from larq_insta.runtime import LiteModel
from larq_insta.zoo.mobilenet_v1 import FILTERS
from larq_insta_runtime.card import Card

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import reactnet_torch

SIZE, CLASSES = 224, 1000
NETWORKS = {
    "InstaResNet18": reactnet_torch.ResNet((64, 128, 256, 512), CLASSES, 2, False),
    "InstaMobileNetV1": reactnet_torch.MobileNet(FILTERS, CLASSES, 2, True),
}


def photographs(paths: tuple[Path, ...]) -> np.ndarray:
    pre = photo_preprocessing(SIZE)
    return np.stack([pre.read(path) for path in paths])


def compare(name: str, oracle: torch.nn.Module, pictures: np.ndarray, folder: Path) -> str:
    checkpoint, target = folder / f"{name}.pth.tar", folder / f"{name}.tflite"
    torch.save({"state_dict": reactnet_torch.randomize(oracle, 0).state_dict()}, checkpoint)
    model = models.build(name, dict(weights.ARGUMENTS))
    weights.load_reactnet(model, checkpoint)
    expected, _, signs = reactnet_torch.run(oracle, pictures)
    ends = [x.output for x in model.layers if x.name.endswith("_threshold")]
    ends = [end[0] if isinstance(end, list) else end for end in ends]
    network = tf.keras.Model(model.input, [*ends, model.get_layer("head_logits").output])
    *found, logits = network.predict(pictures, batch_size=5, verbose=0)
    flips = sum(int(((a >= 0) != (b >= 0)).sum()) for a, b in zip(found, signs, strict=True))
    names = tfds.class_names("imagenet2012")
    card = Card(name, {}, "imagenet2012", names, photo_preprocessing(SIZE))
    report = conversion.convert(model, target, card, pictures, expected.argmax(-1))
    answers = LiteModel(target).predict(pictures).argmax(-1)
    off = np.abs(logits - expected).max() / np.abs(expected).max()
    return (
        f"{name}: {flips:,} of {sum(x.size for x in signs):,} signs differ from PyTorch's, logits "
        f"by at most {off:.1%} of the largest; same class {np.mean(_same(logits, expected)):.0%}, "
        f"of the file {np.mean(answers == expected.argmax(-1)):.0%}\n{report.describe()}"
    )


def _same(logits: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return logits.argmax(-1) == expected.argmax(-1)


@click.command(help=__doc__)
@click.argument("pictures", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
def main(pictures: tuple[Path, ...]) -> None:
    images = photographs(pictures)
    with tempfile.TemporaryDirectory() as folder:
        for name, oracle in NETWORKS.items():
            click.echo(compare(name, oracle, images, Path(folder)))


if __name__ == "__main__":
    main()
