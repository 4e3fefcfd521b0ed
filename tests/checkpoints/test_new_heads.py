"""Weights for other classes: all are taken but the classifier's, and that is said."""

import numpy as np
import pytest
from conftest import run, without_tracing
from PIL import Image

from larq_insta import models
from larq_insta.checkpoints import keras_files, reactnet, torch_files
from larq_insta.checkpoints.initial import InitialWeights
from larq_insta.training.trainer import trained_weights
from larq_insta.zoo import pretrained
from larq_insta.zoo.pretrained import HEAD
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError

TINY = {"input_shape": (8, 8, 1), "filters": (4,), "stem": "small", "insta_blocks": "all"}


def weights_but_the_heads(model):
    return {
        name: weight.numpy()
        for name, weight in keras_files.named_weights(model).items()
        if not name.startswith(HEAD)
    }


def assert_all_taken_but_the_head(model, source, head_before):
    taken, given = weights_but_the_heads(model), weights_but_the_heads(source)
    assert taken.keys() == given.keys()
    for name, weight in taken.items():
        np.testing.assert_array_equal(weight, given[name], err_msg=name)
    for now, before in zip(model.get_layer(HEAD).get_weights(), head_before, strict=True):
        np.testing.assert_array_equal(now, before)


def test_a_checkpoint_leaves_the_classifier_of_other_classes(tmp_path):
    source, model = (models.InstaResNet18(**TINY, num_classes=n) for n in (7, 3))
    source.save(tmp_path / "x.keras")
    before = model.get_layer(HEAD).get_weights()
    initial = InitialWeights.find(str(tmp_path / "x.keras"))
    assert initial.load_into(model)
    assert_all_taken_but_the_head(model, source, before)
    assert "The classifier is new, for 3 classes" in initial.remark(("a", "b", "c"), True)


def test_a_checkpoint_of_as_many_classes_is_taken_whole(tmp_path):
    source, model = (models.InstaResNet18(**TINY, num_classes=3) for _ in range(2))
    source.save(tmp_path / "x.keras")
    initial = InitialWeights.find(str(tmp_path / "x.keras"))
    assert not initial.load_into(model)
    assert_all_taken_but_the_head(model, source, source.get_layer(HEAD).get_weights())
    assert initial.remark(("a", "b", "c"), False).startswith("All weights are those of")


@pytest.mark.slow
def test_a_checkpoint_without_a_classifier_is_one_for_any_classes(tmp_path):
    models.InstaResNet18(**TINY, include_top=False).save(tmp_path / "x.keras")
    model = models.InstaResNet18(**TINY, num_classes=3)
    assert InitialWeights.find(str(tmp_path / "x.keras")).load_into(model)


def test_a_new_classifier_is_trained_with_all_that_is_channelwise():
    model = models.InstaResNet18(**TINY, num_classes=3)
    plain, new = (trained_weights(model, "channelwise", head) for head in (False, True))
    names = {weight.name for weight in new} - {weight.name for weight in plain}
    assert names == {f"{HEAD}/kernel:0", f"{HEAD}/bias:0"}


def test_the_trained_model_starts_a_training_by_its_name():
    initial = InitialWeights.find("fashion_mnist")
    assert initial.path == pretrained.checkpoint("fashion_mnist")
    assert initial.arguments["filters"] == [16, 32, 64]
    assert not {"num_classes", "input_shape"} & initial.arguments.keys()
    assert (initial.preprocessing.size, initial.preprocessing.channels) == (28, 1)


@pytest.mark.slow
def test_a_training_on_other_classes_goes_all_the_way(trained, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("left", "right"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 256, (10, 12, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{i}.png")
    start = ("--initial-weights", trained / "best.keras", "--trainable", "channelwise")
    where = ("--dataset", tmp_path / "data", "--output", tmp_path / "run")
    with without_tracing():
        output = run("train", "InstaMobileNetV1", *start, *where, "--epochs", 1)
    assert (
        f"The classifier is new, for 2 classes; all other weights are those of {start[1]}" in output
    )
    card = Card.read(tmp_path / "run" / "best.keras")
    assert card.class_names == ("left", "right")
    assert card.preprocessing == Card.read(start[1]).preprocessing
    before, after = (keras_files.load(p) for p in (start[1], tmp_path / "run" / "best.keras"))
    kernels = [m.get_layer("block1_spatial_conv").kernel.numpy() for m in (before, after)]
    np.testing.assert_array_equal(*kernels)


@pytest.mark.quick(1)
@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_models_take_weights_for_other_classes_and_say_so(suffix, tmp_path):
    source = models.InstaResNet18(**TINY, num_classes=7)
    path = tmp_path / f"x{suffix}"
    if suffix == ".keras":
        card = Card(
            "InstaResNet18",
            {},
            "none",
            tuple("abcdefg"),
            InitialWeights.find("fashion_mnist").preprocessing,
        )
        keras_files.save(source, path, card)
    else:
        source.save_weights(path)
    with pytest.warns(UserWarning, match="classifier of insta_resnet18 is new, for 3 classes"):
        model = models.InstaResNet18(**TINY, num_classes=3, weights=str(path))
    assert_all_taken_but_the_head(model, source, model.get_layer(HEAD).get_weights())
    assert model.output_shape == (None, 3)


@pytest.mark.slow
def test_the_trained_model_learns_other_classes():
    with pytest.warns(UserWarning, match="is new, for 5 classes; .* which tells 10 apart"):
        model = models.InstaResNet18(weights="fashion_mnist", num_classes=5)
    source = models.InstaResNet18(weights="fashion_mnist")
    assert_all_taken_but_the_head(model, source, model.get_layer(HEAD).get_weights())


@pytest.fixture
def published(monkeypatch):
    """A ReActNet's file for PyTorch, of seven classes."""
    pytest.importorskip("torch", reason="torch is not installed: pip install larq-insta[torch]")
    import reactnet_torch

    network = reactnet_torch.randomize(reactnet_torch.ResNet((4,), 7, 2, False), 0)
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    monkeypatch.setattr(torch_files, "read", lambda path: tensors)
    return "model_best.pth.tar"


def test_published_weights_leave_the_classifier_of_other_classes(published):
    settings = {**TINY, "input_shape": (32, 32, 3), **reactnet.ARGUMENTS}
    model, other = (
        models.ReActNet18(
            **{k: v for k, v in settings.items() if k != "insta_blocks"}, num_classes=n
        )
        for n in (3, 7)
    )
    reactnet.load_reactnet(other, published)
    before = model.get_layer(HEAD).get_weights()
    with pytest.raises(InputError, match=r"num_classes=7, or give new_head=True"):
        reactnet.load_reactnet(model, published)
    reactnet.load_reactnet(model, published, new_head=True)
    assert_all_taken_but_the_head(model, other, before)
