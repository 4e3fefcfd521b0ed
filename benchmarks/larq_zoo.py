"""Converts Larq Zoo's models with random weights, and prints the table of docs/conversion.md.

`python benchmarks/larq_zoo.py [MODELS]`; all of them take 40 minutes and 8 GB.
"""

import logging
import sys
import tempfile
import warnings
from pathlib import Path

import larq_zoo as lz
import numpy as np
import tensorflow as tf

from larq_insta import conversion
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError
from larq_insta_runtime.preprocessing import Preprocessing

MODELS = (
    "QuickNet", "QuickNetSmall", "QuickNetLarge", "BinaryAlexNet", "BiRealNet", "BinaryResNetE18",
    "BinaryDenseNet28", "BinaryDenseNet37", "BinaryDenseNet37Dilated", "BinaryDenseNet45",
    "MeliusNet22", "RealToBinaryNet", "XNORNet", "DoReFaNet",
)  # fmt: skip
PICTURES = 16
CARD = Card("model", {}, "random", tuple(map(str, range(1000))), Preprocessing(224, 3))


def build(name, seed=1):
    """A model of Larq Zoo with random weights."""
    tf.keras.utils.set_random_seed(seed)
    module = lz.sota if hasattr(lz.sota, name) else lz.literature
    return getattr(module, name)(weights=None)


def convert(model, target, runtime="lce"):
    """The report of a model's conversion, with random pictures for its check."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(PICTURES, *model.input_shape[1:])).astype(np.float32)
    labels = rng.integers(0, 1000, PICTURES)
    return conversion.convert(model, target, CARD, images, labels, runtime=runtime)


def row(name, folder):
    """What the table says of a model."""
    cells = []
    for runtime in ("lce", "tflite"):
        tf.keras.backend.clear_session()
        try:
            report = convert(build(name), folder / f"{name}.tflite", runtime)
        except InputError as error:
            cells.append(str(error))
            continue
        deviation = max(report.device_deviation, *(block.deviation for block in report.blocks))
        agreement = min(report.agreement, report.device_agreement)
        if runtime == "lce":
            cells.append(f"{report.binary_convolutions} of {report.expected_convolutions}")
        equal = sum(not block.differs for block in report.blocks)
        cells.append(f"{equal} of {len(report.blocks)}, {deviation:.0e}")
        cells.append(f"{report.size / 1e6:.2f} | {agreement:.0%}")
    return f"| `{name}` | {' | '.join(cells)} |"


def main():
    warnings.simplefilter("ignore")
    logging.getLogger("larq").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or MODELS:
            print(row(name, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
