"""Teachers, and the loss that a student learns from them by."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from larq_insta import data, models
from larq_insta.checkpoints import keras_files
from larq_insta.training import distillation
from larq_insta.training.distillation import Distillation, Teacher, attention_taps, load_teacher
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError

pytestmark = pytest.mark.usefixtures("short_stages")


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def network(name="ReActNet18", **kwargs):
    settings = {"input_shape": (8, 8, 1), "num_classes": 10, "stem": "small", "filters": (4, 8)}
    return models.get(name)(**{**settings, **kwargs})


def softmax(x):
    exponential = np.exp(x - x.max(-1, keepdims=True))
    return exponential / exponential.sum(-1, keepdims=True)


@pytest.fixture
def batch(rng):
    pictures = tf.constant(rng.integers(0, 256, (6, 8, 8, 1)), tf.uint8)
    return pictures, rng.integers(0, 10, 6), rng.normal(size=(6, 10)).astype(np.float32)


@pytest.mark.quick(2)
@pytest.mark.parametrize(("temperature", "share"), [(1.0, 0.0), (3.0, 0.25), (2.0, 1.0)])
@pytest.mark.parametrize("gives_logits", [False, True])
def test_loss_is_that_of_the_docstring(batch, temperature, share, gives_logits):
    pictures, labels, logits = batch
    model = network(binary="neither")
    if gives_logits:
        model = tf.keras.Model(model.inputs, model.get_layer("head_logits").output)
    teacher = Teacher(model, lambda x: tf.cast(x, tf.float32) / 255, gives_logits)
    loss = Distillation(teacher, temperature, share).loss(pictures, labels, logits, [])

    answers = model(pictures.numpy().astype(np.float32) / 255).numpy().astype(np.float64)
    scores = answers if gives_logits else np.log(answers)
    soft = -(softmax(scores / temperature) * np.log(softmax(logits / temperature))).sum(-1)
    hard = -np.log(softmax(logits)[np.arange(6), labels])
    expected = ((1 - share) * temperature**2 * soft + share * hard).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_attention_is_matched_at_the_last_activation_of_each_size(batch):
    pictures, labels, logits = batch
    student, model = network("InstaResNet18"), network(binary="neither")
    taps = attention_taps(student, model)
    assert taps == ("stage1_block2_prelu", "stage2_block2_prelu")
    teacher = Teacher(model, lambda x: tf.cast(x, tf.float32) / 255)
    x = tf.cast(pictures, tf.float32) / 255
    features = [tf.keras.Model(student.inputs, student.get_layer(t).output)(x) for t in taps]
    plain = Distillation(teacher).loss(pictures, labels, logits, [])
    matched = Distillation(teacher, attention_weight=0.5, taps=taps)

    def attention(maps):
        rows = np.square(maps).mean(-1).reshape(len(maps), -1)
        return rows / rows.max(-1, keepdims=True)

    expected = 0.0
    for tap, feature in zip(taps, features, strict=True):
        theirs = tf.keras.Model(model.inputs, model.get_layer(tap).output)(x).numpy()
        expected += np.square(attention(theirs) - attention(feature.numpy())).mean() / len(taps)
    difference = matched.loss(pictures, labels, logits, features) - plain
    np.testing.assert_allclose(difference, 0.5 * expected, rtol=1e-3)


def test_attention_needs_the_same_layers():
    with pytest.raises(InputError, match="stage1_block2_prelu.*has None"):
        attention_taps(network(), network("ReActNetA", filters=(4, 8)))
    with pytest.raises(InputError, match=r"\(None, 8, 8, 4\) it has \(None, 8, 8, 6\)"):
        attention_taps(network(), network(filters=(6, 12)))


def test_no_gradient_reaches_the_teacher(batch):
    pictures, labels, logits = batch
    model = network(binary="neither")
    with tf.GradientTape() as tape:
        loss = Distillation(Teacher(model, lambda x: tf.cast(x, tf.float32))).loss(
            pictures, labels, tf.constant(logits), []
        )
    assert all(g is None for g in tape.gradient(loss, model.trainable_variables))


@pytest.fixture
def save(digits, tmp_path):
    def write(model, class_names=None, card=True) -> str:
        path = tmp_path / "teacher.keras"
        if card:
            names = class_names or digits.class_names
            keras_files.save(model, path, Card("x", {}, "d", names, digits.preprocessing))
        else:
            model.save(path)
        return str(path)

    return write


def test_a_checkpoint_of_ours_teaches_normalized_pictures(digits, save, batch):
    model = network(binary="neither")
    teacher = load_teacher(save(model), digits)
    assert not teacher.gives_logits
    assert not teacher.network.trainable_variables
    answers = teacher.network(teacher.prepare(batch[0]))
    np.testing.assert_allclose(
        answers, model(batch[0].numpy() / np.float32(127.5) - 1), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(("kind", "scale"), [("normalized", 127.5), ("pixels", 1.0)])
def test_a_foreign_checkpoint_is_fed_as_told(digits, save, batch, kind, scale):
    inputs = tf.keras.Input((16, 16, 3))  # resized and coloured for it
    x = tf.keras.layers.GlobalAveragePooling2D()(inputs)
    path = save(tf.keras.Model(inputs, tf.keras.layers.Dense(10)(x)), card=False)
    teacher = load_teacher(path, digits, kind)
    assert teacher.gives_logits
    fed = teacher.prepare(batch[0]).numpy()
    assert fed.shape == (6, 16, 16, 3)
    mean = batch[0].numpy().mean() - (127.5 if kind == "normalized" else 0)
    assert fed.mean() * scale == pytest.approx(mean, abs=4)


def test_teachers_must_know_the_classes(digits, save):
    with pytest.raises(InputError, match="has 7, digits 10"):
        load_teacher(save(network(num_classes=7), card=False), digits)
    with pytest.raises(InputError, match="classes in their order"):
        load_teacher(save(network(), tuple("9876543210")), digits)


def test_unknown_teachers_are_refused(digits, tmp_path):
    with pytest.raises(InputError, match=r"ResNet50.*got 'ResNet34'"):
        load_teacher("ResNet34", digits)
    with pytest.raises(InputError, match="must exist"):
        load_teacher(str(tmp_path / "none.keras"), digits)


def test_models_of_keras_get_their_own_preprocessing(digits, monkeypatch, batch):
    applications = tf.keras.applications
    build = functools.partial(applications.mobilenet.MobileNet, alpha=0.25, classes=10)
    monkeypatch.setattr(applications.mobilenet, "MobileNet", lambda weights: build(weights=None))
    teacher = load_teacher("MobileNet", digits)
    fed = teacher.prepare(tf.fill((2, 8, 8, 1), tf.constant(255, tf.uint8)))
    np.testing.assert_allclose(fed, np.ones((2, 224, 224, 3)), rtol=1e-6)  # its range is -1 to 1


def test_weights_that_cannot_be_loaded_are_one_line(digits, monkeypatch):
    def offline(weights):
        raise OSError("no network")

    monkeypatch.setattr(tf.keras.applications.resnet, "ResNet50", offline)
    with pytest.raises(InputError, match=r"ResNet50 could not be loaded \(no network\)"):
        distillation.load_teacher("ResNet50", digits)


def test_a_teacher_needs_one_input(digits, save):
    inputs = [tf.keras.Input((8, 8, 1)) for _ in range(2)]
    x = tf.keras.layers.Flatten()(tf.keras.layers.Add()(inputs))
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(10)(x))
    with pytest.raises(InputError, match="one input and one output"):
        load_teacher(save(model, card=False), digits)
