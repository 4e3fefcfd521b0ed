"""Data sets, and what training gets of them."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import arrays

from larq_insta import data
from larq_insta_runtime.errors import InputError


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


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


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("digitz", {}, r"got 'digitz'. Did you mean digits\?"),
        ("fashion_mnst", {}, r"Did you mean fashion_mnist\?"),
        ("./no/such/folder", {}, "folder must exist"),
        ("digits", {"validation_share": 1.0}, "below 1; got 1.0"),
        ("digits", {"image_size": 4}, "from 8 to 16384 pixels; got 4"),
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


def test_pictures_that_vanish_are_named(folder):
    loaded = data.load(str(folder), image_size=16)
    for path in folder.glob("*/*"):
        path.unlink()
    with pytest.raises(InputError, match=r"must be there, .*\.(png|JPG) is not: restore"):
        loaded.test_pictures(4)


def test_names_of_files_need_not_be_unicode(folder):
    (folder / "cat" / "0.png").rename(folder / "cat" / "\udcff.png")
    images, _ = data.load(str(folder), image_size=16).test_pictures(4)
    assert images.shape == (4, 16, 16, 3)


def test_names_of_classes_must_be_unicode(folder):
    (folder / "cat").rename(folder / "\udcff")
    with pytest.raises(InputError, match=r"must be UTF-8, .*; got b'\\xff' in"):
        data.load(str(folder))
