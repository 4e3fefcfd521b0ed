"""The trained models in the package."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import run

import larq_insta
from larq_insta import models, runtime
from larq_insta.checkpoints import keras_files
from larq_insta.zoo import pretrained
from larq_insta_runtime import packaged
from larq_insta_runtime.card import Card

ROOT = Path(__file__).parents[2]
PACKAGE = Path(larq_insta.__file__).parent
BOOT = ROOT / "docs" / "boot.png"
GOLF_BALL = ROOT / "docs" / "golf_ball.jpg"


@pytest.fixture(scope="module")
def network():
    return models.InstaResNet18(weights="fashion_mnist")


@pytest.fixture(scope="module")
def pictures():
    """The boot, moved, darkened and turned."""
    card = Card.read(pretrained.checkpoint("fashion_mnist"))
    boot = runtime.read_picture(BOOT, card.preprocessing)
    return np.stack([boot, np.roll(boot, 3, 1), 0.5 * boot - 0.5, boot[:, ::-1], boot[::-1]])


@pytest.mark.slow
def test_it_is_the_checkpoint_and_the_file(network, pictures):
    checkpoint = keras_files.load(pretrained.checkpoint("fashion_mnist"))
    expected = checkpoint(pictures).numpy()
    np.testing.assert_array_equal(network(pictures), expected)
    lite = runtime.open_model(Path("fashion_mnist"))
    assert isinstance(lite, runtime.LiteModel)
    np.testing.assert_allclose(lite.predict(pictures), expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.5


def test_a_boot_is_a_boot(network, pictures):
    card = Card.read(pretrained.checkpoint("fashion_mnist"))
    assert card.class_names[np.argmax(network(pictures[:1]))] == "Ankle boot"
    assert f"{BOOT}: Ankle boot " in run("predict", "fashion_mnist", BOOT)


def test_its_name_comes_before_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fashion_mnist").write_text("something")
    assert "Ankle boot" in run("predict", "fashion_mnist", BOOT)


@pytest.mark.slow
def test_without_top_it_gives_the_same_map_for_any_size_of_picture(network, pictures):
    body = models.InstaResNet18(
        weights="fashion_mnist", include_top=False, input_shape=(None, None, 1)
    )
    last = network.get_layer(body.layers[-1].name).output
    np.testing.assert_array_equal(body(pictures), tf.keras.Model(network.input, last)(pictures))
    assert body(np.zeros((1, 40, 36, 1))).shape[1:3] == (10, 9)


def test_it_can_stand_on_a_tensor(network, pictures):
    inputs = tf.keras.Input((28, 28, 1))
    model = models.InstaResNet18(weights="fashion_mnist", input_tensor=inputs)
    assert model.input is inputs
    np.testing.assert_array_equal(model(pictures), network(pictures))


@pytest.mark.parametrize(
    ("model", "arguments", "words"),
    [
        ("InstaResNet18", {"filters": (8,)}, r"`filters` must be \[16, 32, 64\] with weights="),
        ("InstaResNet18", {"plus": True}, "`plus` must be left out with .*; got True"),
        ("ReActNet18", {}, "'fashion_mnist' are of InstaResNet18; got ReActNet18"),
    ],
)
def test_other_models_are_refused(model, arguments, words):
    with pytest.raises(ValueError, match=words):
        models.get(model)(weights="fashion_mnist", **arguments)


def test_what_it_was_trained_with_may_be_said(network):
    said = models.InstaResNet18(weights="fashion_mnist", filters=(16, 32, 64), stem="small")
    assert said.count_params() == network.count_params()


@pytest.mark.slow
def test_the_model_of_photographs_is_its_checkpoint_and_its_file():
    """The file rounds float layers to int8, so that it answers a little otherwise."""
    card = Card.read(pretrained.checkpoint("imagenette"))
    ball = runtime.read_picture(GOLF_BALL, card.preprocessing)
    pictures = np.stack([ball, ball[:, ::-1], np.roll(ball, 9, 1), 0.7 * ball])
    model = models.InstaResNet18(weights="imagenette")
    expected = model(pictures).numpy()
    checkpoint = keras_files.load(pretrained.checkpoint("imagenette"))
    np.testing.assert_array_equal(checkpoint(pictures).numpy(), expected)
    found = runtime.open_model(Path("imagenette")).predict(pictures)
    np.testing.assert_array_equal(found.argmax(-1), expected.argmax(-1))
    np.testing.assert_allclose(found, expected, atol=0.2)
    assert {card.class_names[i] for i in expected.argmax(-1)} == {"golf_ball"}


def test_a_golf_ball_is_a_golf_ball():
    assert f"{GOLF_BALL}: golf_ball " in run("predict", "imagenette", GOLF_BALL)


@pytest.mark.parametrize("name", packaged.MODELS)
def test_files_are_small_and_say_where_they_are_from(name):
    files = pretrained.checkpoint(name), packaged.converted(name)
    assert sum(path.stat().st_size for path in files) <= 2_000_000
    for path in files:
        card = Card.read(path)
        assert card.model == packaged.MODELS[name]
        assert card.dataset == name
        assert card.training["teacher"]
        assert not Path(card.training["teacher"]).is_absolute()
        assert card.training["steps"] == ["activations", "both"]
        assert card.training["seed"] == 0


@pytest.mark.slow
def test_they_are_installed(tmp_path):
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    command[-1] = str(tmp_path / "runtime")
    subprocess.run(command, cwd=ROOT / "runtime", check=True, capture_output=True)
    places = {
        pretrained.FOLDER: tmp_path / "larq_insta" / pretrained.FOLDER.relative_to(PACKAGE),
        packaged.FOLDER: tmp_path / "runtime" / "larq_insta_runtime" / packaged.FOLDER.name,
    }
    for folder, installed in places.items():
        assert {path.name for path in folder.iterdir()} == {p.name for p in installed.iterdir()}
