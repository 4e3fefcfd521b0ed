"""Data sets of TensorFlow Datasets."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from conftest import arrays

from larq_insta import data
from larq_insta.data import records
from larq_insta.data import tfds as ours
from larq_insta_runtime.errors import InputError


class TinyPhotos(tfds.core.GeneratorBasedBuilder):
    """Twenty photographs of different sizes, as ImageNet has them."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = Path(__file__).parent

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(20), "validation": self._generate_examples(6)}

    def _generate_examples(self, count):
        rng = np.random.default_rng(count)
        for i in range(count):
            image = rng.integers(0, 256, (40 + i, 60 - i, 3)).astype(np.uint8)
            yield i, {"image": image, "label": i % 2}


def test_photographs_of_tensorflow_datasets(tmp_path):
    dataset = data.load("tiny_photos", image_size=24, data_dir=str(tmp_path))
    assert [s.size for s in (dataset.train, dataset.validation, dataset.test)] == [18, 2, 6]
    assert dataset.train.examples.element_spec[0].dtype == tf.string  # shuffled undecoded
    images, labels = arrays(dataset.training_batches(6, seed=0, epochs=range(1)))
    assert images.shape == (18, 24, 24, 3)
    images, labels = arrays(dataset.evaluation_batches(dataset.test))
    assert images.shape == (6, 24, 24, 3)
    assert sorted(labels) == [0, 0, 0, 1, 1, 1]
    no_validation = data.load("tiny_photos", data_dir=str(tmp_path), validation_share=0)
    assert (no_validation.train.size, no_validation.validation.size) == (20, 0)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"text": None}, "must have images with one label each; x has text"),
        ({"image": SimpleNamespace(dtype=np.uint16, shape=(8, 8, 1)), "label": None}, "uint16"),
        ({"image": SimpleNamespace(dtype=np.uint8, shape=(8, 8, 4)), "label": None}, "with 4"),
    ],
)
def test_other_kinds_of_data_sets_are_refused(features, message):
    with pytest.raises(InputError, match=message):
        ours._check_features("x", features)


@pytest.fixture
def numbered(tmp_path):
    """A reader of fifty files of thirty records, but for the first five and the last two."""
    instructions = []
    for file in range(50):
        path = str(tmp_path / f"{file}.tfrecord")
        with tf.io.TFRecordWriter(path) as writer:
            for i in range(30):
                writer.write(str(30 * file + i))
        skip, take = (5, 25) if file == 0 else (0, 28) if file == 49 else (0, 30)
        instructions.append(SimpleNamespace(filename=path, skip=skip, take=take))
    features = SimpleNamespace(
        deserialize_example=lambda record, decoders: {"image": record, "label": 0}
    )
    info = SimpleNamespace(file_format=tfds.core.FileFormat.TFRECORD, features=features)
    return records.reader(SimpleNamespace(info=info), instructions)


def test_files_are_read_in_the_order_of_the_seed(numbered):
    def numbers(seed):
        seed = None if seed is None else tf.constant(seed, tf.int64)
        return [int(record.numpy()) for record, _ in numbered(seed)]

    orders = [numbers(seed) for seed in (None, 0, 1)]
    for order in orders:
        assert sorted(order) == list(range(5, 1498))
    assert orders[1] == numbers(0)
    assert orders[1] != orders[2]
    # The first five hundred are of files that differ from those of another seed.
    first = [{n // 30 for n in order[:480]} for order in orders[1:]]
    assert len(first[0] & first[1]) < 12


@pytest.mark.slow
def test_cached_photographs_are_those_of_the_data_set(tmp_path):
    arguments = {"image_size": 24, "data_dir": str(tmp_path)}
    plain = data.load("tiny_photos", **arguments)
    cached = data.load("tiny_photos", **arguments, cache=str(tmp_path / "cache"))
    for part in ("train", "validation", "test"):
        a, b = (arrays(d.evaluation_batches(getattr(d, part))) for d in (plain, cached))
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])
    assert len(list((tmp_path / "cache").glob("*.index"))) == 2  # not the test pictures
