"""Data sets, preprocessing and augmentation."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from larq_insta import data
from larq_insta.errors import InputError
from larq_insta.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture
def folder(tmp_path, rng):
    """Ten random pictures of each of two classes, of different sizes and kinds."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(10):
            image = rng.integers(0, 256, (40 + i, 60 - i, 3)).astype(np.uint8)
            write, suffix = [(tf.io.encode_png, "png"), (tf.io.encode_jpeg, "JPG")][i % 2]
            (tmp_path / name / f"{i}.{suffix}").write_bytes(write(image).numpy())
    (tmp_path / "README.txt").write_text("not a class")
    (tmp_path / "cat" / "notes.txt").write_text("not a picture")
    return tmp_path


def arrays(batches):
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def test_digits_are_split_into_three_disjoint_parts(digits):
    parts = [digits.train, digits.validation, digits.test]
    assert [part.size for part in parts] == [1293, 144, 360]
    pictures = [image.numpy().tobytes() for part in parts for image, _ in part.examples]
    assert len(pictures) == 1797
    assert len(set(pictures)) == 1797  # load_digits has no duplicates
    assert digits.input_shape == (8, 8, 1)
    assert digits.class_names == tuple("0123456789")


def test_test_pictures_do_not_depend_on_the_validation_share(digits):
    other = data.load("digits", validation_share=0)
    assert (other.train.size, other.validation.size) == (1437, 0)
    for a, b in zip(digits.test.examples, other.test.examples, strict=True):
        np.testing.assert_array_equal(a[0], b[0])


def test_evaluation_batches_hold_every_picture_once_normalized(digits):
    images, labels = arrays(digits.evaluation_batches(digits.test))
    raw = np.stack([image for image, _ in digits.test.examples]).astype(np.float64)
    np.testing.assert_allclose(images, raw / 127.5 - 1, rtol=1e-6)
    np.testing.assert_array_equal(labels, [label for _, label in digits.test.examples])


def test_training_order_depends_on_seed_and_epoch_alone(digits):
    def labels(seed, epochs=2):
        tf.random.set_seed(np.random.randint(99))  # must not matter
        return arrays(digits.training_batches(431, seed, range(epochs)))[1].reshape(epochs, -1)

    first = labels(0)
    np.testing.assert_array_equal(first, labels(0))
    assert (first[0] != first[1]).any()
    for other in labels(1):
        assert all((other != epoch).any() for epoch in first)
    np.testing.assert_array_equal(np.sort(first[0]), np.sort(first[1]))


def test_an_epoch_is_the_same_wherever_training_begins(digits):
    images, labels = arrays(digits.training_batches(431, 5, range(3)))
    later_images, later_labels = arrays(digits.training_batches(431, 5, range(2, 3)))
    np.testing.assert_array_equal(images[-len(later_images) :], later_images)
    np.testing.assert_array_equal(labels[-len(later_labels) :], later_labels)


def test_shards_are_together_what_one_would_be(digits):
    whole, _ = arrays(digits.training_batches(300, 0, range(2)))
    parts = [
        arrays(digits.training_batches(100, 0, range(2), shards=3, shard=i))[0] for i in range(3)
    ]
    assert whole.dtype == np.uint8
    assert len(whole) == 2 * 4 * 300  # of 1293 pictures an epoch
    np.testing.assert_array_equal(np.stack(parts, 1).reshape(whole.shape), whole)


def test_training_pictures_are_shifted(digits):
    images, _ = arrays(digits.training_batches(431, 0, range(1)))
    raw = {image.numpy().tobytes() for image, _ in digits.train.examples}
    share = np.mean([image.tobytes() in raw for image in images])
    assert 0.05 < share < 0.3  # one of nine shifts is none


def test_folder_of_class_folders(folder):
    dataset = data.load(str(folder), image_size=24)
    assert dataset.class_names == ("cat", "dog")
    assert [s.size for s in (dataset.train, dataset.validation, dataset.test)] == [14, 2, 4]
    assert dataset.input_shape == (24, 24, 3)
    images, labels = arrays(dataset.evaluation_batches(dataset.test))
    assert images.shape == (4, 24, 24, 3)
    assert sorted(labels) == [0, 0, 1, 1]
    images, _ = arrays(dataset.training_batches(7, seed=0, epochs=range(2)))
    assert images.shape == (28, 24, 24, 3)


def test_folder_with_train_and_test(folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("split")
    for part in ("train", "test"):
        (root / part).symlink_to(folder)
    dataset = data.load(str(root), image_size=24, validation_share=0.5)
    assert [s.size for s in (dataset.train, dataset.validation, dataset.test)] == [10, 10, 20]


def test_evaluation_takes_the_centre(rng):
    pre = Preprocessing(size=8, channels=3, crop=0.5)
    image = np.zeros((32, 64, 3), np.uint8)
    image[8:24, 24:40] = 200  # the centre square of half the shorter side
    resized = pre.resize(tf.constant(image)).numpy()
    np.testing.assert_array_equal(resized, np.full((8, 8, 3), 200))


def test_pictures_of_the_right_size_are_left_alone(rng):
    image = tf.constant(rng.integers(0, 256, (8, 8, 1)), tf.uint8)
    assert Preprocessing(size=8, channels=1).resize(image) is image


def test_normalization(rng):
    images = rng.integers(0, 256, (2, 4, 4, 3)).astype(np.uint8)
    pre = Preprocessing(4, 3, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0))
    result = pre.normalize(tf.constant(images))
    assert result.dtype == tf.float32
    np.testing.assert_allclose(result, (images - [1, 2, 3.0]) / [4, 5, 6.0], rtol=1e-6)


def test_random_crops_are_uint8_parts(rng):
    image = tf.constant(rng.integers(100, 200, (50, 70, 3)), tf.uint8)
    pre = Preprocessing(16, 3)
    one, two, again = (pre.random_crop(image, (0, i)) for i in (1, 2, 1))
    assert one.shape == (16, 16, 3)
    assert one.dtype == tf.uint8
    assert one.numpy().min() >= 100
    np.testing.assert_array_equal(one, again)
    assert (one != two).numpy().any()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("digitz", {}, r"got 'digitz'. Did you mean digits\?"),
        ("fashion_mnst", {}, r"Did you mean fashion_mnist\?"),
        ("./no/such/folder", {}, "folder must exist"),
        ("digits", {"validation_share": 1.0}, "below 1; got 1.0"),
        ("digits", {"image_size": 4}, "at least 8 pixels; got 4"),
    ],
)
def test_bad_arguments_are_refused(name, arguments, message):
    with pytest.raises(InputError, match=message):
        data.load(name, **arguments)


def test_bad_folders_are_refused(folder, tmp_path_factory):
    with pytest.raises(InputError, match="one folder for each class, two at least; got 0"):
        data.load(str(folder / "cat"))
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds none"):
        data.load(str(folder))


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


def test_imagenet_is_tested_on_its_validation_split():
    sizes = {"train": 1000, "validation": 50, "test": 100}
    splits = {name: SimpleNamespace(num_examples=size) for name, size in sizes.items()}
    slices = data._tfds_slices(splits, "imagenet2012:5.*.*", 0.1)
    assert slices == {"train[:900]": 900, "train[900:]": 100, "validation": 50}
    assert "test" in data._tfds_slices(splits, "other", 0.1)


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
        data._check_features("x", features)


def test_data_sets_without_test_pictures_are_refused():
    with pytest.raises(InputError, match="must have a train split and a test .*; x has train"):
        data._tfds_slices({"train": SimpleNamespace(num_examples=3)}, "x", 0.1)
