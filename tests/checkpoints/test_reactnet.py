"""Published ReActNets' weights, against the same networks in PyTorch."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import randomize, run, without_tracing

from larq_insta import conversion, models, weights
from larq_insta.checkpoints import keras_files
from larq_insta.data.preprocessing import photo_preprocessing
from larq_insta.layers import InstaPReLU, InstaThreshold
from larq_insta.runtime import LiteModel
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError

torch = pytest.importorskip("torch", reason="torch is not installed: pip install larq-insta[torch]")

import reactnet_torch  # noqa: E402  (needs torch)

FILTERS = {"ReActNet18": (8, 16), "ReActNetA": (8, 16, 16, 32)}
NETWORKS = {"ReActNet18": reactnet_torch.ResNet, "ReActNetA": reactnet_torch.MobileNet}
INSTA = {"InstaResNet18": "ReActNet18", "InstaMobileNetV1": "ReActNetA"}
BACKBONE = {name: name for name in NETWORKS} | INSTA
CLASSES = 7
BINARY = {1: "activations", 2: "both"}

every_model = pytest.mark.parametrize("name", BACKBONE)


def network(name, step=2, flat=None):
    flat = step == 2 and BACKBONE[name] == "ReActNetA" if flat is None else flat
    made = NETWORKS[BACKBONE[name]](FILTERS[BACKBONE[name]], CLASSES, step, flat)
    return reactnet_torch.randomize(made, 0)


def build(name, step=2, **kwargs):
    settings = {"filters": FILTERS[BACKBONE[name]], "num_classes": CLASSES, "binary": BINARY[step]}
    return models.build(name, {**settings, **weights.ARGUMENTS, **kwargs})


def save(path, state, **around):
    torch.save({"state_dict": state, **around} if around else state, path)
    return path


@pytest.fixture(scope="module")
def photos():
    spec = find_spec("foolbox")
    if spec is None:
        pytest.skip("foolbox is not installed: pip install --no-deps foolbox==3.3.4")
    paths = sorted((Path(spec.submodule_search_locations[0]) / "data").glob("imagenet_*.jpg"))
    pre = photo_preprocessing(224)
    return np.stack([pre.read(path) for path in paths[:8]])


def relative(found, expected):
    return np.abs(found - expected).max() / np.abs(expected).max()


def thresholds(model):
    return [layer for layer in model.layers if layer.name.endswith("_threshold")]


def shifted(layer):
    return layer.output[0] if isinstance(layer.output, list) else layer.output


@pytest.mark.quick(2)
@pytest.mark.parametrize("step", [1, 2])
@every_model
def test_every_block_computes_what_pytorch_does(name, step, photos, tmp_path):
    oracle, model = network(name, step), build(name, step)
    weights.load_reactnet(model, save(tmp_path / "x.pth.tar", oracle.state_dict()))
    logits, outputs, signs = reactnet_torch.run(oracle, photos)
    begin, given = model.input, photos
    readers = dict(zip((layer.name for layer in thresholds(model)), signs, strict=True))
    for end, expected in outputs.items():
        reader = model.get_layer(end.replace("_prelu", "_threshold"))
        block = tf.keras.Model(begin, [shifted(reader), model.get_layer(end).output])
        before, after = (x.numpy() for x in block(given, training=False))
        wanted = readers[reader.name]
        assert relative(before, wanted) < 1e-4
        flipped = (before >= 0) != (wanted >= 0)
        assert np.all(np.abs(wanted[flipped]) < 1e-5 * np.abs(wanted).max())
        same = ~flipped.any((1, 2, 3))
        assert same.any()
        assert relative(after[same], expected[same]) < 1e-4
        begin, given = model.get_layer(end).output, expected
    head = tf.keras.Model(begin, model.get_layer("head_logits").output)
    assert relative(head(given).numpy(), logits) < 1e-4


@pytest.mark.slow
@every_model
def test_the_whole_network_answers_as_pytorch_does_and_so_does_its_file(name, photos, tmp_path):
    oracle, model = network(name), build(name)
    weights.load_reactnet(model, save(tmp_path / "x.pth.tar", oracle.state_dict()))
    logits, _, signs = reactnet_torch.run(oracle, photos)
    outputs = [*map(shifted, thresholds(model)), model.get_layer("head_logits").output]
    *found, answers = (x.numpy() for x in tf.keras.Model(model.input, outputs)(photos))
    # A sign that rounding flips changes what follows, where more may flip.
    flips = sum(((a >= 0) != (b >= 0)).sum() for a, b in zip(found, signs, strict=True))
    assert flips <= 1e-4 * sum(x.size for x in signs)
    assert relative(answers, logits) < 0.02
    assert np.all(answers.argmax(-1) == logits.argmax(-1))
    names = tuple(map(str, range(CLASSES)))
    card = Card(name, {}, "photos", names, photo_preprocessing(224))
    target, classes = tmp_path / "x.tflite", logits.argmax(-1)
    report = conversion.convert(model, target, card, photos, classes)  # verifies each block
    assert report.file_accuracy == 1
    expected = torch.softmax(torch.from_numpy(logits), -1).numpy()
    np.testing.assert_allclose(LiteModel(target).predict(photos), expected, atol=0.02)


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("strided", ["stem", "pool", "binary"])
def test_turned_same_windows_are_pytorchs(strided, size, rng):
    x = rng.normal(size=(1, size, size, 3)).astype(np.float32)
    kernel = rng.normal(size=(5, 3, *((7, 7) if strided == "stem" else (3, 3)))).astype(np.float32)
    image = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    ours = tf.reverse(x, (1, 2))
    if strided == "pool":
        expected, found = torch.max_pool2d(image, 3, 2, 1), tf.nn.max_pool2d(ours, 3, 2, "SAME")
    else:
        pad = kernel.shape[-1] // 2
        if strided == "binary":
            image, ours = image.sign(), tf.sign(ours)
        expected = torch.conv2d(image, torch.from_numpy(kernel), None, 2, pad)
        found = tf.nn.conv2d(ours, kernel.transpose(2, 3, 1, 0)[::-1, ::-1], 2, "SAME")
    np.testing.assert_allclose(found, reactnet_torch.turned(expected), atol=1e-4)
    assert not np.allclose(found, reactnet_torch.turned(expected)[:, ::-1, ::-1], atol=1e-4)


def states(name):
    """The forms in which such files are found."""
    state = network(name, flat=False).state_dict()
    flat = {}
    for key, value in state.items():
        binary = "binary" in key and value.ndim == 4
        flat[f"{key}s" if binary else key] = value.reshape(-1, 1) if binary else value
    parameters = {k: torch.nn.Parameter(v, v.is_floating_point()) for k, v in state.items()}
    parallel = {f"module.{key}": value for key, value in state.items()}
    return {
        "plain": (state, {}),
        "in one column": (flat, {}),
        "from many GPUs": (parallel, {}),
        "with epoch and optimizer": (parallel, {"epoch": 256, "best_top1_acc": 65.9}),
        "as parameters": (parameters, {}),
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_all_forms_of_a_checkpoint_give_the_same_weights(name, tmp_path):
    model, results = build(name), []
    for form, (state, around) in states(name).items():
        assert weights.load_reactnet(model, save(tmp_path / form, state, **around)) == 0
        results.append(model.get_weights())
    for result in results[1:]:
        for found, expected in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.quick(1)
@pytest.mark.parametrize("form", [{}, {"plus": True, "insta_blocks": "all"}])
@pytest.mark.parametrize("name", INSTA)
def test_trained_alphas_become_zero_and_moments_stay(name, form, rng, tmp_path):
    model, static = build(name, **form), build(INSTA[name])
    randomize(model, rng)
    moments = [v.numpy() for v in model.weights if "moving" in v.name and v.shape.rank == 1]
    path = save(tmp_path / "x", network(name).state_dict())
    for each in (model, static):
        weights.load_reactnet(each, path)
    x = rng.normal(size=(2, 224, 224, 3)).astype(np.float32)
    np.testing.assert_allclose(model(x), static(x), rtol=1e-3, atol=1e-6)
    kinds = [layer for layer in model.layers if isinstance(layer, (InstaThreshold, InstaPReLU))]
    vectors = [w for layer in kinds for w in layer.weights if "alpha" in w.name]
    assert vectors
    assert not any(w.numpy().any() for w in vectors)
    assert len(moments) > 0


def test_zeros_are_counted_as_their_signs_differ(tmp_path):
    state = network("ReActNet18").state_dict()
    state["layer1.0.binary_conv.weight"][0, 0, 0] = 0
    model = build("ReActNet18")
    assert weights.load_reactnet(model, save(tmp_path / "x", state)) == 3
    assert weights.load_reactnet(build("ReActNet18", step=1), tmp_path / "x") == 0


def renamed(state, old, new):
    return {new if key == old else key: value for key, value in state.items()}


@pytest.fixture(scope="module")
def unchanged():
    return build("ReActNet18")


WRONG = {
    "missing: bn1.weight; left over: bn1.scale; of another shape: none": lambda s: renamed(
        s, "bn1.weight", "bn1.scale"
    ),
    r"of another shape: layer1.0.move0.bias \[1, 8, 2, 1\]": lambda s: {
        **s,
        "layer1.0.move0.bias": torch.zeros(1, 8, 2, 1),
    },
    r"of another shape: layer2.3.binary_conv.weight \[16, 16, 5, 5\]": lambda s: {
        **s,
        "layer2.3.binary_conv.weight": torch.zeros(16, 16, 5, 5),
    },
    "left over: fc.num_batches_tracked": lambda s: {**s, "fc.num_batches_tracked": torch.zeros(())},
    "left over: layer1.0.binary_conv.weights": lambda s: {
        **s,
        "layer1.0.binary_conv.weights": torch.zeros(8 * 8 * 9, 1),
    },
    "missing: layer1.0.binary_conv.weight; left over: layer1.0.binary_conv.weights": lambda s: {
        **renamed(s, "layer1.0.binary_conv.weight", "layer1.0.binary_conv.weights"),
        "layer1.0.binary_conv.weights": torch.zeros(8 * 8 * 9 + 1, 1),
    },
    "negative variance: bn1.running_var": lambda s: {**s, "bn1.running_var": -torch.ones(8)},
    "not finite, .*: fc.bias": lambda s: {**s, "fc.bias": torch.full((CLASSES,), torch.nan)},
    r"has 9, reactnet18 has 7: build the model with num_classes=9": lambda s: {
        **s,
        "fc.bias": torch.zeros(9),
        "fc.weight": torch.zeros(9, 16),
    },
    r"layer1.\* or feature.\*; .* has fc.bias, fc.weight": lambda s: {
        k: s[k] for k in ("fc.bias", "fc.weight")
    },
    "is for ReActNetA or InstaMobileNetV1, and the model is ReActNet18": lambda _: network(
        "ReActNetA"
    ).state_dict(),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit_is_told_and_changes_nothing(message, unchanged, tmp_path):
    model = unchanged
    before = model.get_weights()
    path = save(tmp_path / "x", WRONG[message](network("ReActNet18").state_dict()))
    with pytest.raises(InputError, match=message) as raised:
        weights.load_reactnet(model, path)
    assert "\n" not in str(raised.value)
    for found, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.quick(2)
@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ReActNet18", {"pad_values": 1.0}, "build it with pad_values=0.0, half_turn=True"),
        ("ReActNet18", {"half_turn": False}, "build it with pad_values=0.0, half_turn=True"),
        ("ReActNet18", {"include_top": False}, "include_top=True"),
        ("InstaResNet18", {"threshold": {"normalization": "batch"}}, "neither normalization="),
        ("InstaMobileNetV1", {"binary": "activations"}, "is of the second .* binary='both'"),
        (
            "InstaResNet18",
            {"threshold": {"reduction_ratio": 4, "branch_activation": "sigmoid"}},
            "nor a branch_activation",
        ),
    ],
)
def test_models_that_cannot_be_exact_are_refused(name, arguments, message, tmp_path):
    path = save(tmp_path / "x", network(name).state_dict())
    with pytest.raises(InputError, match=message):
        weights.load_reactnet(build(name, **arguments), path)


def test_other_models_are_refused(tmp_path):
    path = save(tmp_path / "x", network("ReActNet18").state_dict())
    model = tf.keras.Sequential([tf.keras.layers.Dense(1, input_shape=(2,))])
    with pytest.raises(InputError, match="build one of these"):
        weights.load_reactnet(model, path)


def test_a_truncated_file_is_one_clear_line(tmp_path):
    path = save(tmp_path / "x", network("ReActNet18").state_dict())
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="must be a whole PyTorch state dict"):
        weights.load_reactnet(build("ReActNet18"), path)


NARROW = ("--filters", "8,16", "--image-size", "64")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A checkpoint as they are, but narrow, and what it was imported as."""
    folder = tmp_path_factory.mktemp("published")
    made = reactnet_torch.randomize(reactnet_torch.ResNet((8, 16), 1000, 2, False), 0)
    state = {f"module.{key}": value for key, value in made.state_dict().items()}
    checkpoint = save(folder / "model_best.pth.tar", state, epoch=256)
    answer = run("import-weights", checkpoint, "InstaResNet18", folder / "x.keras", *NARROW)
    return checkpoint, folder / "x.keras", answer, made


def test_the_command_writes_a_checkpoint_that_knows_where_it_is_from(published, rng):
    checkpoint, imported, answer, oracle = published
    assert answer.startswith(f"{imported}: InstaResNet18 with all ")
    x = rng.normal(size=(3, 64, 64, 3)).astype(np.float32)
    expected = torch.softmax(torch.from_numpy(reactnet_torch.run(oracle, x)[0]), -1)
    np.testing.assert_allclose(keras_files.load(imported)(x), expected, atol=1e-4)
    card = Card.read(imported)
    assert (card.model, card.dataset) == ("InstaResNet18", "imagenet2012")
    assert len(card.class_names) == 1000
    assert card.class_names[0] == "n01440764"
    checksum = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert card.training == {"imported": "model_best.pth.tar", "sha256": checksum}


@pytest.mark.slow
def test_both_files_start_a_training(published, folder, tmp_path):
    checkpoint, imported, _, _ = published
    options = (*NARROW, "--dataset", folder, "--validation-share", 0, "--epochs", 1)

    def train(start, name):
        where = ("--initial-weights", start, "--output", tmp_path / name)
        with without_tracing():
            return run("train", "InstaResNet18", *options, *where)

    assert "The classifier is new, for 2 classes" in train(imported, "imported")
    assert "The classifier is new, for 2 classes" in train(checkpoint, "published")
    made = reactnet_torch.randomize(reactnet_torch.ResNet((8, 16), 2, 2, False), 0)
    two = save(tmp_path / "two.pth.tar", made.state_dict())
    assert "All weights are those of" in train(two, "two")
    model = keras_files.load(tmp_path / "two/last.keras")
    assert model.get_layer("half_turn")
    assert model.get_layer("stage1_block1_conv").pad_values == 0


@pytest.mark.parametrize(
    ("model", "target", "words"),
    [
        ("ReActNetA", "y.keras", "the model is ReActNetA or InstaMobileNetV1: choose the other"),
        ("ReActNet18", "y.tflite", "must be called *.keras; got"),
        ("ReActNet50", "y.keras", "Models are InstaResNet18,"),
    ],
)
def test_wrong_commands_are_one_line_and_leave_nothing(published, model, target, words, tmp_path):
    widths = ("--filters", "8,16,32") if model == "ReActNetA" else NARROW
    answer = run("import-weights", published[0], model, tmp_path / target, *widths, code=2)
    assert words in answer
    assert len(answer.splitlines()) == 1
    assert not list(tmp_path.iterdir())
