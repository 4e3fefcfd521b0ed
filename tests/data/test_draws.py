"""What is drawn at random of training pictures, and that no two draws are one."""

import numpy as np
import pytest
import tensorflow as tf

from larq_insta import data
from larq_insta.cli import train
from larq_insta.data.augmentation import KINDS, of_photographs, photo_crops, shifts
from larq_insta.data.preprocessing import SMALL, photo_preprocessing, photo_view
from larq_insta.lite.errors import InputError
from larq_insta.lite.preprocessing import Preprocessing

DRAWS = 300
MOST_CORRELATED = 4 / DRAWS**0.5
"""Of two draws that are independent, but for one in ten thousand."""
COORDINATES = np.stack([*np.mgrid[0:200, 0:200], np.zeros((200, 200))], -1).astype(np.uint8)
"""A picture whose colours tell where each pixel was."""


def drawn(augmentation, contents):
    """All training pictures that are made of one."""
    seeds = tf.data.Dataset.range(DRAWS).map(lambda i: tf.stack([3, i]))
    return next(iter(seeds.map(lambda seed: augmentation(contents, seed)).batch(DRAWS))).numpy()


def edges(pictures):
    """Top, left, bottom and right of what was seen; left and right of mirrored ones are swapped."""
    return np.concatenate([pictures[:, 0, 0, :2], pictures[:, -1, -1, :2]], -1).astype(float).T


def are_mirrored(pictures):
    middle = pictures.shape[2] // 2
    return pictures[:, middle, middle, 1] > pictures[:, middle, middle + 1, 1]


def correlation(a, b):
    return abs(np.corrcoef(a, b)[0, 1])


def test_mirrored_crops_are_of_all_forms():
    seen = drawn(photo_crops(Preprocessing(32, 3)), tf.io.encode_png(COORDINATES))
    (top, left, bottom, right), mirrored = edges(seen), are_mirrored(seen)
    form = np.log((bottom - top) / abs(right - left))
    for draw in (form, bottom - top, top, np.minimum(left, right)):
        assert correlation(mirrored, draw) < MOST_CORRELATED
    assert 0.4 < mirrored.mean() < 0.6


def test_mirrored_shifts_go_everywhere():
    size = 16
    picture = COORDINATES[1 : size + 1, 1 : size + 1]  # what lies outside is 0
    seen = drawn(shifts(Preprocessing(size, 3)), picture)
    down, across = seen[:, 8, 8, 0], np.minimum(seen[:, 8, 7, 1], seen[:, 8, 8, 1])
    assert len(set(down)) == len(set(across)) == 2 * size // 8 + 1
    for one, other in ((are_mirrored(seen), down), (are_mirrored(seen), across), (down, across)):
        assert correlation(one, other) < MOST_CORRELATED


def test_epochs_and_seeds_share_no_draws():
    dataset = data.load("digits", augmentation="crops_and_mirror")

    def places(seed, epoch):
        batches = dataset.training_batches(DRAWS, seed, range(epoch, epoch + 1))
        return next(iter(batches))[1].numpy()

    orders = [places(*draw) for draw in ((0, 0), (0, 1), (1, 0), (2**20, 0), (0, 2**10))]
    for i, one in enumerate(orders):
        assert all(correlation(one, other) < MOST_CORRELATED for other in orders[:i])


@pytest.mark.parametrize("size", [16, SMALL, SMALL + 1])
def test_without_augmentation_training_sees_what_testing_does(size):
    file = tf.io.encode_png(COORDINATES[:, :150])
    pre = photo_view(size)
    seen = of_photographs(pre, "none")(file, (0, 1))
    np.testing.assert_allclose(seen, pre.resize(COORDINATES[:, :150]), atol=1)


@pytest.mark.parametrize("make", [shifts, photo_crops])
@pytest.mark.parametrize("kind", KINDS)
def test_only_the_last_kind_mirrors(make, kind):
    contents = COORDINATES if make is shifts else tf.io.encode_png(COORDINATES)
    seen = drawn(make(Preprocessing(32, 3), kind), contents)
    assert are_mirrored(seen).any() == (kind == "crops_and_mirror")
    assert (seen != seen[0]).any() == (kind != "none")


def test_small_models_see_whole_pictures_and_large_ones_without_the_border():
    assert [photo_view(size).crop for size in (16, 32, SMALL)] == [1.0, 1.0, 1.0]
    assert [photo_view(size).crop for size in (65, 96, 160, 224)] == [0.875] * 4
    assert photo_view(384).crop == photo_preprocessing(384).crop == 384 / 416
    seen = drawn(of_photographs(photo_view(SMALL), "crops"), tf.io.encode_png(COORDINATES))
    steps = np.diff(seen[:, SMALL // 4 : -SMALL // 4, SMALL // 2, 0].astype(int), axis=1)
    assert steps.mean() == pytest.approx(200 / SMALL, rel=0.02)  # shifted, and no part enlarged


def test_kinds_are_those_of_the_command_line():
    option = next(x for x in train.train.params if x.name == "augmentation")
    assert tuple(option.type.choices) == KINDS
    for make in (shifts, photo_crops, of_photographs):
        with pytest.raises(InputError, match="none, crops, crops_and_mirror; got 'mirror'"):
            make(Preprocessing(32, 3), "mirror")


@pytest.mark.parametrize(
    ("names", "kind"),
    [(("cat", "dog"), "crops"), (("n01440764", "n02102040"), "crops_and_mirror")],
)
def test_folders_are_mirrored_if_their_classes_are_imagenets(folder, names, kind):
    for old, new in zip(("cat", "dog"), names, strict=True):
        (folder / old).rename(folder / new)
    assert data.load(str(folder), image_size=16).augmentation.kind == kind
    assert data.load(str(folder), augmentation="none").augmentation.kind == "none"
    assert data.load("digits").augmentation.kind == "crops"
