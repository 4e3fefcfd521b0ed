"""How a checkpoint's model was compiled is not read, whatever it is; the rest still is."""

import json
import zipfile

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

from larq_insta.checkpoints import contents, keras_files
from larq_insta_runtime.errors import InputError

L = tf.keras.layers
KERAS = tf.keras.optimizers


def case():
    binary = lq.optimizers.Bop.is_binary_variable, lq.optimizers.Bop()
    return lq.optimizers.CaseOptimizer(binary, default_optimizer=KERAS.legacy.Adam())


OPTIMIZERS = {
    "legacy": KERAS.legacy.Adam,
    "plain": KERAS.SGD,
    "schedule": lambda: KERAS.SGD(KERAS.schedules.CosineDecay(0.1, 5)),
    "Bop": lq.optimizers.Bop,
    "CaseOptimizer": case,
    "LossScaleOptimizer": lambda: tf.keras.mixed_precision.LossScaleOptimizer(KERAS.Adam()),
    "legacy LossScaleOptimizer": lambda: tf.keras.mixed_precision.LossScaleOptimizer(
        KERAS.legacy.SGD()
    ),
}


def compiled(optimizer="adam", loss="mse"):
    model = tf.keras.Sequential([tf.keras.Input((3,)), L.Dense(2, name="dense")])
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def inside(model):
    inputs = tf.keras.Input((3,))
    return tf.keras.Model(inputs, tf.keras.Sequential([model, L.ReLU()])(inputs) * 2.0)


@pytest.mark.quick(7)
@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("wrap", [lambda model: model, inside], ids=["alone", "inside"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_every_optimizer_is_passed_over(optimizer, wrap, suffix, tmp_path):
    model, path = wrap(compiled(optimizer())), tmp_path / f"model.{suffix}"
    model.save(path)
    loaded = keras_files.load(path)
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(loaded(x), model(x))
    assert all(getattr(part, "optimizer", None) is None for part in loaded._flatten_layers())


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize("wrap", [lambda model: model, inside], ids=["alone", "inside"])
def test_a_loss_of_ones_own_is_passed_over(wrap, tmp_path):
    path = tmp_path / "model.keras"
    wrap(compiled(loss=lambda truth, found: tf.reduce_mean(truth - found))).save(path)
    assert keras_files.load(path).optimizer is None


def test_keras_compiles_models_again_afterwards(tmp_path):
    compiled().save(tmp_path / "model.keras")
    keras_files.load(tmp_path / "model.keras")
    assert tf.keras.models.load_model(tmp_path / "model.keras").optimizer is not None


EVIL = {"class_name": "Popen", "module": "larq_insta_marker", "config": {}}
EVIL |= {"registered_name": None}


def _in_dense(config):
    return config["config"]["layers"][1]


PLACES = {
    "in a layer": lambda config: _in_dense(config).update(compile_config=EVIL),
    "in a layer's settings": lambda config: _in_dense(config)["config"].update(
        compile_config=EVIL, class_name="Functional", config={}
    ),
    "in place of a layer": lambda config: config["config"]["layers"].append(
        {"compile_config": EVIL, "name": "x", "module": "keras"}
    ),
    "without settings": lambda config: config["config"]["layers"].append(
        {"class_name": "Functional", "compile_config": EVIL, "module": "keras"}
    ),
    "beside": lambda config: config.update(build_config={"compile_config": EVIL}),
    "as the model": lambda config: config.update(class_name="Other"),
}


@pytest.fixture
def twisted(tmp_path, monkeypatch):
    """Writes a compiled model's file with its configuration changed."""
    mark = f"open({str(tmp_path / 'run')!r}, 'w'); Popen = print"
    (tmp_path / "larq_insta_marker.py").write_text(mark)
    monkeypatch.syspath_prepend(tmp_path)

    def write(change, model=None):
        path = tmp_path / "model.keras"
        (model or compiled()).save(path)
        with zipfile.ZipFile(path) as source:
            members = {name: source.read(name) for name in source.namelist()}
        config = json.loads(members["config.json"])
        config["compile_config"] = EVIL
        change(config)
        members["config.json"] = json.dumps(config).encode()
        with zipfile.ZipFile(path, "w") as target:
            for name, content in members.items():
                target.writestr(name, content)
        return path

    return write


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_elsewhere_the_same_word_hides_nothing(place, twisted, tmp_path):
    with pytest.raises(InputError, match="must hold known layers and arrays alone"):
        keras_files.load(twisted(place))
    assert not (tmp_path / "run").exists()


def test_what_is_passed_over_is_not_run(twisted, tmp_path):
    assert keras_files.load(twisted(lambda config: None)).optimizer is None
    assert not (tmp_path / "run").exists()


def test_nor_that_of_models_inside(twisted, tmp_path):
    def hide(config):
        middle = config["config"]["layers"][1]
        inner = middle["config"]["layers"][1]
        assert "compile_config" in inner
        middle["compile_config"] = inner["compile_config"] = EVIL

    assert keras_files.load(twisted(hide, inside(compiled()))).optimizer is None
    assert not (tmp_path / "run").exists()


PICTURES = {
    "standardized": tf.image.per_image_standardization,
    "grey": tf.image.rgb_to_grayscale,
    "mirrored": tf.image.flip_left_right,
    "cropped": lambda x: tf.image.central_crop(x, 0.5),
    "padded": lambda x: tf.image.resize_with_pad(x, 12, 12),
    "contrast": lambda x: tf.image.adjust_contrast(x, 2.0),
    "edges": tf.image.sobel_edges,
    "arrays": lambda x: tf.roll(tf.repeat(tf.gather(x, [0, 1], axis=-1), 2, axis=1), 1, axis=1),
}


@pytest.mark.quick(3)
@pytest.mark.parametrize("function", PICTURES.values(), ids=PICTURES)
def test_functions_that_compute_on_pictures_are_harmless(function, tmp_path):
    inputs = tf.keras.Input((8, 8, 3))
    model = tf.keras.Model(inputs, function(inputs))
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).random((1, 8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(keras_files.load(tmp_path / "model.keras")(x), model(x))


@pytest.mark.parametrize(
    "name",
    ["image.decode_png", "image.encode_jpeg", "compat.v1.py_func", "compat.v1.image.decode_gif"],
)
def test_functions_of_files_contents_are_not(name):
    assert not contents._is_harmless(name)
