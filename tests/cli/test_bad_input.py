"""What commands and functions say to input that they cannot use, and what odd input they can."""

import re
import shutil
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import run
from PIL import Image

import larq_insta
from larq_insta import conversion, data, models, runtime, statistics, weights
from larq_insta.checkpoints import keras_files
from larq_insta.reports import inspection
from larq_insta.training import distillation
from larq_insta.training.configuration import Configuration
from larq_insta.zoo import pretrained
from larq_insta_runtime import packaged, writing
from larq_insta_runtime.card import Card
from larq_insta_runtime.preprocessing import Preprocessing

TRAIN = ["train", "ReActNet18", "--filters", "4", "--epochs", "1", "--output", "{tmp}/new"]
INSTA = ["train", "InstaResNet18", "--filters", "4,8", "--epochs", "1", "--output", "{tmp}/new"]
SUMMARY = ["summary", "InstaResNet18", "--image-size", "32", "--filters", "4,8"]
IMPORT = ["import-weights", "{file}", "ReActNet18"]
WHOLE = "must be a whole JPEG, PNG, GIF, BMP or WEBP"

COMMANDS = [
    # Names
    (["train", "InstaResNet", "--output", "{tmp}/new"], "Did you mean InstaResNet18?"),
    (["train", "", "--output", "{tmp}/new"], "got ''"),
    (["trian"], "No such command 'trian'"),
    ([*TRAIN, "--epoch", "1"], "No such option"),
    ([*TRAIN, "--dataset", "digitz"], "Did you mean digits?"),
    ([*TRAIN, "--recipe", "quik"], "'quik' is not one of"),
    ([*TRAIN, "--teacher", "ResNet51"], "ResNet51"),
    ([*TRAIN, "--teacher", "{file}"], "{file}"),
    ([*TRAIN, "--teacher", "{tmp}/no.keras"], "no.keras"),
    ([*TRAIN, "--steps", "both,all"], "got all"),
    ([*TRAIN, "--steps", ""], "got none"),
    ([*TRAIN, "--steps", "both,"], "got ''"),
    ([*TRAIN, "--trainable", ""], "got ''"),
    ([*TRAIN, "--dataset", ""], "must not be empty; got ''"),
    ([*TRAIN, "--teacher", ""], "must not be empty; got ''"),
    ([*TRAIN, "--initial-weights", ""], "must not be empty; got ''"),
    ([*TRAIN, "--cache", ""], "must not be empty; got ''"),
    (["evaluate", "{model}", "--dataset", ""], "must not be empty; got ''"),
    (["inspect", "{model}", "{tmp}/new", "--dataset", ""], "must not be empty; got ''"),
    (["recipes", "--all"], "No such option '--all'"),
    (["demo", "--epochs", "1"], "No such option '--epochs'"),
    ([*IMPORT, "{tmp}/new.keras", "--binary", "neither"], "'neither' is not one of"),
    ([*TRAIN, "--trainable", "some"], "got some"),
    ([*TRAIN, "--stem", "tiny"], "'tiny' is not one of"),
    ([*TRAIN, "--foreign-input", "bytes"], "'bytes' is not one of"),
    ([*TRAIN, "--float-weights", "int4"], "'int4' is not one of"),
    (["summary", "Nothing"], "Models are InstaResNet18"),
    ([*SUMMARY, "--binary", "some"], "'some' is not one of"),
    ([*SUMMARY, "--insta-blocks", "stage9"], "stage9"),
    ([*SUMMARY, "--insta-blocks", ""], "insta_blocks"),
    (["recipes", "small"], "unexpected extra argument"),
    (["convert", "{model}", "{tmp}/new.tflite", "--runtime", "gpu"], "'gpu' is not one of"),
    (["convert", "{model}", "{tmp}/new.tflite", "--float-weights", "int4"], "'int4' is not one of"),
    ([*IMPORT[:2], "ResNet18", "{tmp}/new.keras"], "ResNet18"),
    # Numbers
    ([*TRAIN, "--epochs", "0"], "`epochs` must be at least 1; got 0"),
    ([*TRAIN, "--epochs", "1.5"], "1.5"),
    ([*TRAIN, "--epochs", "1,2,3"], "one for each of the 1 steps (both); got 3"),
    ([*TRAIN, "--batch-size", "0"], "`batch_size` must be at least 1; got 0"),
    ([*TRAIN, "--batch-size", "x"], "'x' is not a valid integer"),
    ([*TRAIN, "--learning-rate", "-1"], "`learning_rate` must be positive; got -1.0"),
    ([*TRAIN, "--learning-rate", "nan"], "`learning_rate` must be positive; got nan"),
    ([*TRAIN, "--learning-rate", "inf"], "`learning_rate` must be finite; got inf"),
    ([*TRAIN, "--learning-rate", "fast"], "fast"),
    ([*TRAIN, "--weight-decay", "-1"], "`weight_decay` must be at least 0; got -1.0"),
    ([*TRAIN, "--weight-decay", "nan"], "`weight_decay` must be at least 0; got nan"),
    ([*TRAIN, "--weight-decay", "inf"], "`weight_decay` must be finite; got inf"),
    ([*TRAIN, "--temperature", "0"], "`temperature` must be positive; got 0.0"),
    ([*TRAIN, "--temperature", "nan"], "`temperature` must be positive; got nan"),
    ([*TRAIN, "--hard-label-share", "1.1"], "`hard_label_share` must be from 0 to 1; got 1.1"),
    ([*TRAIN, "--attention-weight", "-1"], "`attention_weight` must be at least 0; got -1.0"),
    ([*TRAIN, "--seed", "-1"], "`seed` must be at least 0"),
    ([*TRAIN, "--seed", "2147483648"], "below 2**31; got 2147483648"),
    ([*TRAIN, "--image-size", "3"], "from 8 to 16384 pixels; got 3"),
    ([*TRAIN, "--image-size", "-8"], "from 8 to 16384 pixels; got -8"),
    ([*TRAIN, "--validation-share", "2"], "below 1; got 2.0"),
    ([*TRAIN, "--validation-share", "-0.1"], "below 1; got -0.1"),
    ([*TRAIN, "--validation-share", "nan"], "below 1; got nan"),
    ([*TRAIN, "--validation-share", "0.9999"], "leave pictures to train on; of digits 0.9999"),
    ([*TRAIN, "--image-size", "20000"], "from 8 to 16384 pixels; got 20000"),
    ([*TRAIN, "--filters", "4,x"], "give numbers with commas between"),
    ([*TRAIN, "--filters", ""], "give numbers with commas between"),
    ([*TRAIN, "--filters", "0"], "`filters` must be positive"),
    ([*TRAIN, "--filters", "4,-8"], "`filters` must be positive"),
    ([*TRAIN, "--stem", "imagenet"], "at least 32 x 32 pixels"),
    ([*TRAIN, "--plus"], "got plus"),
    ([*TRAIN, "--threshold", "x"], "settings are KEY=VALUE"),
    ([*INSTA, "--threshold", "x=1"], "InstaThreshold"),
    ([*INSTA, "--threshold", "normalization=bach"], "'bach'"),
    ([*INSTA, "--threshold", "normalization="], "normalization"),
    ([*INSTA, "--threshold", "reduction_ratio=0"], "`reduction_ratio`"),
    ([*INSTA, "--threshold", "reduction_ratio=-2"], "-2"),
    ([*INSTA, "--threshold", "reduction_ratio=1.5"], "a whole number; got 1.5"),
    ([*INSTA, "--threshold", "reduction_ratio=NaN"], "a whole number; got nan"),
    ([*INSTA, "--threshold", "reduction_ratio=many"], "a whole number; got 'many'"),
    ([*INSTA, "--threshold", "stop_gradient=False"], "one of False, True; got 'False'"),
    ([*INSTA, "--threshold", "alpha_regularizer=l3"], "`alpha_regularizer` must be"),
    ([*INSTA, "--threshold", "dtype=int32"], "got int32"),
    ([*INSTA, "--threshold", 'statistic=["mean"]'], "got ['mean']"),
    ([*INSTA, "--prelu", "instance_aware=3"], "each once; got 3"),
    ([*INSTA, "--prelu", 'instance_aware=["zeta", "zeta"]'], "each once; got ['zeta', 'zeta']"),
    ([*INSTA, "--threshold", "statistic_bound=wide"], "positive; got 'wide'"),
    ([*INSTA, "--threshold", "statistic_bound=-1"], "got -1"),
    ([*INSTA, "--threshold", "statistic_bound=NaN"], "nan"),
    ([*INSTA, "--threshold", "statistic=median"], "got 'median'"),
    ([*INSTA, "--prelu", 'instance_aware=["beta"]'], "beta"),
    ([*INSTA, "--prelu", "instance_aware=[broken"], "[broken"),
    (["summary", "InstaResNet18", "--image-size", "8"], "use stem='small'"),
    (["summary", "InstaResNet18", "--classes", "0"], "`num_classes` must be at least 1; got 0"),
    (["summary", "InstaResNet18", "--channels", "0"], "channels"),
    (["summary", "InstaResNet18", "--channels", "-1"], "got (224, 224, -1)"),
    (["summary", "InstaResNet18", "--image-size", "0"], "0"),
    (["summary", "InstaResNet18", "--image-size", "-5"], "-5"),
    (["summary", "InstaMobileNetV1", "--filters", "8,12"], "12"),
    ([*SUMMARY, "--plot", "{tmp}/x.doc"], ".doc"),
    ([*SUMMARY, "--plot", "{file}/x.png"], "must be in a folder that can be written"),
    (["benchmark", "{lite}", "--runs", "0"], "0 is not in the range"),
    (["benchmark", "{lite}", "--threads", "0"], "0 is not in the range"),
    (["predict", "{model}", "{picture}", "--top", "0"], "0 is not in the range"),
    (["inspect", "{model}", "{tmp}/new", "--pictures", "1"], "1 is not in the range"),
    (["convert", "{model}", "{tmp}/new.tflite", "--pictures", "0"], "at least 1 picture"),
    # Places
    (["train", "ReActNet18"], "Missing option '--output'"),
    (["train", "ReActNet18", "--output", "{tmp}"], "must be new or empty"),
    (["train", "ReActNet18", "--output", "{file}"], "text.txt"),
    (["train", "ReActNet18", "--output", "{file}/x"], "must be in a folder that can be written"),
    ([*TRAIN, "--dataset", "{folder}", "--image-size", "9", "--cache", "{file}"], "text.txt"),
    ([*TRAIN, "--initial-weights", "{tmp}/no.keras"], "no.keras"),
    ([*TRAIN, "--stem", "small", "--initial-weights", "{file}"], "text.txt"),
    (["train", "ReActNet18", "--output", "{tmp}/" + 300 * "x"], "must not be so long; got"),
    (["evaluate", 300 * "x"], "must not be so long; got xxx"),
    (["demo", "--output", "{tmp}"], "must be new or empty"),
    (["inspect", "{model}", "{tmp}"], "must be new or empty"),
    (["inspect", "{tmp}/no.keras", "{tmp}/new"], "must exist"),
    (["inspect", "{lite}", "{tmp}/new"], "must be a .keras or .h5 file"),
    (["convert", "{model}"], "Missing argument"),
    (["convert", "{tmp}/no.keras", "{tmp}/new.tflite"], "must exist"),
    (["convert", "{file}", "{tmp}/new.tflite"], "must be a .keras or .h5 file"),
    (["convert", "{lite}", "{tmp}/new.tflite"], "must be a .keras or .h5 file"),
    (["convert", "{folder}", "{tmp}/new.tflite"], "must be a .keras or .h5 file"),
    (["convert", "{model}", "{tmp}/new.onnx"], "must be called *.tflite"),
    (["convert", "{model}", "{file}/new.tflite"], "must be in a folder that can be written"),
    (["evaluate", "{tmp}/no.tflite"], "must exist"),
    (["evaluate", "{tmp}/no.keras"], "must exist"),
    (["evaluate", "{file}"], "must be a .keras or .h5 file"),
    (["evaluate", "mnist"], "mnist"),
    (["benchmark", "{file}"], "must be a TFLite file"),
    (["benchmark", "{tmp}/no.tflite"], "cannot be read"),
    (["benchmark", "{tmp}"], "cannot be read"),
    (["benchmark", "{model}"], "must be a TFLite file"),
    (["predict", "{model}"], "Missing argument 'IMAGE...'"),
    (["predict", "{file}", "{file}"], "must be a .keras or .h5 file"),
    (["predict", "{tmp}/no.tflite", "{picture}"], "must exist"),
    ([*IMPORT, "{tmp}/new.h5"], ".keras"),
    ([*IMPORT, "{tmp}/new.keras", "--filters", "4"], "text.txt"),
    (["import-weights", "{tmp}/no.pth", *IMPORT[2:], "{tmp}/new.keras", "--filters", "4"],
     "no.pth"),
    (["import-weights", "{model}", *IMPORT[2:], "{tmp}/new.keras", "--filters", "4"],
     "best.keras"),
    # Damaged and foreign models
    (["convert", "{broken}.keras", "{tmp}/new.tflite"], "no whole .keras file"),
    (["convert", "{broken}.h5", "{tmp}/new.tflite"], "is damaged"),
    (["evaluate", "{broken}.tflite"], "is cut off"),
    (["evaluate", "{half}.tflite"], "is damaged"),
    (["benchmark", "{half}.tflite"], "is damaged"),
    (["predict", "{half}.tflite", "{picture}"], "is damaged"),
    (["summary", "{broken}.keras"], "no whole .keras file"),
    (["convert", "{dynamic}", "{tmp}/new.tflite", "--dataset", "digits"], "fixed input size"),
    (["convert", "{nan}", "{tmp}/new.tflite", "--dataset", "digits"],
     "block1_spatial_threshold/beta:0 of insta_mobilenet_v1 has nan"),
    (["convert", "{infinite}", "{tmp}/new.tflite", "--dataset", "digits", "--allow-differences"],
     "has inf: use a checkpoint that trained without overflow"),
    (["predict", "{plain}", "{picture}"], "carries no class names"),
    (["evaluate", "{plain}"], "carries no class names"),
    (["inspect", "{plain}", "{tmp}/new"], "carries no class names"),
    # Data
    ([*TRAIN, "--dataset", "{tmp}/nowhere"], "folder must exist"),
    ([*TRAIN, "--dataset", "{folders}/empty"], "two at least; got 0"),
    ([*TRAIN, "--dataset", "{folders}/single"], "two at least; got 1"),
    ([*TRAIN, "--dataset", "{folders}/hollow"], "b holds none"),
    ([*TRAIN, "--dataset", "{folders}/stray"], "b holds none"),
    ([*TRAIN, "--dataset", "{folders}/few"], "too few pictures"),
    ([*TRAIN, "--dataset", "{folders}/parts"], "must hold the same class folders"),
    ([*TRAIN, "--dataset", "{folders}/foreign"], "must be UTF-8"),
    ([*TRAIN, "--dataset", "./x\0y"], "x"),
    (["evaluate", "{model}", "--dataset", "{folder}"], "has a, b besides, the model knows 0, 1,"),
    (["convert", "{model}", "{tmp}/new.tflite", "--dataset", "{folder}"], "classes"),
    (["inspect", "{model}", "{tmp}/new", "--dataset", "{folder}"], "classes"),
    # Pictures
    (["predict", "{model}", "{tmp}/no.png"], "A picture must exist; got"),
    (["predict", "{model}", "{tmp}"], "is a folder"),
    (["predict", "{model}", "{file}"], WHOLE),
    *((["predict", "{lite}", f"{{pictures}}/{name}"], WHOLE) for name in (
        "cut.png", "cut.jpg", "cut.bmp", "empty.png", "text.png", "drawing.svg", "scan.tiff",
        "icon.ico", "zeros.jpg", "head.gif", "head.webp", "numbers.npy",
    )),
    (["predict", "{lite}", "{pictures}/bomb.png"], "must have at most 89,478,485 pixels"),
    (["predict", "{model}", "{picture}", "{tmp}/no.png"], "1 of 2 are not"),
]  # fmt: skip


def png_header(width, height):
    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"\0"))


def write_pictures(root, image):
    root.mkdir()
    for suffix in ("png", "jpg", "bmp"):
        image.save(root / f"cut.{suffix}")
        whole = (root / f"cut.{suffix}").read_bytes()
        (root / f"cut.{suffix}").write_bytes(whole[: len(whole) // 2])
    image.save(root / "scan.tiff")
    image.save(root / "icon.ico")
    np.save(root / "numbers.npy", np.zeros((8, 8)))
    for name, content in {
        "empty.png": b"",
        "text.png": b"no picture",
        "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "zeros.jpg": bytes(100),
        "head.gif": b"GIF89a",
        "head.webp": b"RIFF\0\0\0\0WEBP",
        "bomb.png": png_header(30_000, 30_000),
    }.items():
        (root / name).write_bytes(content)


def write_folders(root, picture):
    """Data sets that lack something."""
    for place in ("empty", "single/a", "hollow/a", "hollow/b", "stray/a", "stray/b", "few/a",
                  "few/b", "parts/train/a", "parts/train/b", "parts/test/a", "parts/test/c",
                  "foreign/a", "foreign/\udcff"):  # fmt: skip
        folder = root / place
        folder.mkdir(parents=True)
        if place not in ("empty", "hollow/b", "stray/b"):
            for name in ["0.png"] if place.startswith("few") else ["0.png", "1.png"]:
                shutil.copy(picture, folder / name)
    (root / "stray" / "b" / "notes.txt").write_text("no picture")


@pytest.fixture(scope="module")
def places(trained, converted, tmp_path_factory):
    root = tmp_path_factory.mktemp("bad")
    (root / "text.txt").write_text("no model, no picture")
    for source in (trained / "best.keras", converted):
        (root / f"broken{source.suffix}").write_bytes(source.read_bytes()[:-100])
    whole = converted.read_bytes()
    (root / "half.tflite").write_bytes(whole[: len(whole) // 2])
    (root / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    image = Image.fromarray(np.arange(12 * 12 * 3, dtype=np.uint8).reshape(12, 12, 3))
    image.save(root / "picture.png")
    write_pictures(root / "pictures", image)
    write_folders(root / "folders", root / "picture.png")
    for name in ("a", "b"):
        (root / "folder" / name).mkdir(parents=True)
        for i in range(5):
            Image.new("RGB", (9, 9), (i, i, i)).save(root / "folder" / name / f"{i}.png")
    body = models.ReActNet18(input_shape=(None, None, 1), include_top=False, filters=(4,))
    head = [tf.keras.layers.GlobalAveragePooling2D(), tf.keras.layers.Dense(10, "softmax")]
    tf.keras.Sequential([body, *head]).save(root / "dynamic.keras")
    model = keras_files.load(trained / "best.keras")
    model.save(root / "plain.keras")
    model.get_layer("block1_spatial_threshold").beta.assign(np.full(4, np.nan))
    model.save(root / "nan.keras")
    model.get_layer("block1_spatial_threshold").beta.assign(np.full(4, np.inf))
    model.save(root / "infinite.keras")
    return {
        "dynamic": root / "dynamic.keras",
        "nan": root / "nan.keras",
        "infinite": root / "infinite.keras",
        "plain": root / "plain.keras",
        "file": root / "text.txt",
        "broken": root / "broken",
        "half": root / "half",
        "folder": root / "folder",
        "folders": root / "folders",
        "picture": root / "picture.png",
        "pictures": root / "pictures",
        "model": trained / "best.keras",
        "lite": converted,
    }


@pytest.mark.parametrize(
    ("arguments", "message"), COMMANDS, ids=[" ".join(a).replace("\0", "0") for a, _ in COMMANDS]
)
def test_wrong_input_gets_one_clear_line_and_exit_code_2(arguments, message, places, tmp_path):
    (tmp_path / "kept.txt").write_text("kept")
    output = run(*(a.format(tmp=tmp_path, **places) for a in arguments), code=2)
    lines = [line for line in output.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1
    assert message.format(**places) in lines[0]
    assert "Traceback" not in output
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["kept.txt"]


def test_a_read_only_output_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(writing.os, "access", lambda *_: False)  # tests may run as root
    assert "can be written" in run(*TRAIN[:-1], tmp_path / "new", code=2)


def test_a_damaged_picture_in_a_folder_is_named(places, tmp_path):
    shutil.copytree(places["folder"], tmp_path / "pictures")
    for damaged in (tmp_path / "pictures").glob("*/*.png"):
        damaged.write_bytes(damaged.read_bytes()[:40])
    output = run(
        "train", "ReActNet18", "--filters", "4", "--dataset", tmp_path / "pictures",
        "--image-size", 9, "--epochs", 1, "--output", tmp_path / "run", code=2,
    )  # fmt: skip
    assert "Error: Every picture must be there, as a whole JPEG, PNG, GIF" in output
    assert ".png is not: restore, repair or remove it." in output


MAPS = np.ones((2, 4, 4, 6), np.float32)
FASHION = Path("fashion_mnist")
SMALL = {"input_shape": (8, 8, 1), "stem": "small", "num_classes": 3, "filters": (4,)}


def fashion(images):
    return lambda: runtime.LiteModel(packaged.converted("fashion_mnist")).predict(images)


def fashion_keras(images):
    return lambda: runtime.KerasModel(pretrained.checkpoint("fashion_mnist")).predict(images)


CARD = Card("ReActNet18", {}, "digits", ("a", "b", "c"), Preprocessing(8, 1))


def convert(target="x.tflite", shape=(2, 8, 8, 1), labels=2, card=CARD, **arguments):
    def call():
        images, classes = np.zeros(shape, np.float32), np.zeros(labels, np.int64)
        model = models.ReActNet18(**SMALL)
        conversion.convert(model, Path(target), card, images, classes, **arguments)

    return call


def model(**arguments):
    return lambda: models.InstaResNet18(**{**SMALL, "insta_blocks": "all", **arguments})


def inspect(*shape):
    return lambda: inspection.inspect(model()(), np.zeros(shape, np.float32))


def checked(**values):
    return lambda: Configuration("ReActNet18", **values).check()


def threshold(**arguments):
    return lambda: larq_insta.InstaThreshold(**arguments)


def given(*shape):
    """A PReLU's call with a statistic of a shape."""
    return lambda: larq_insta.InstaPReLU(statistic=None)(MAPS, statistic=np.zeros(shape))


INTEGERS = MAPS.astype(np.int32)


def insta(**threshold):
    return lambda: models.InstaResNet18(**{**SMALL, "filters": (4, 8)}, threshold=threshold)


FUNCTIONS = {
    "threshold's statistic": (lambda: larq_insta.InstaThreshold("median"), "got 'median'"),
    "threshold's normalization": (
        lambda: larq_insta.InstaThreshold(normalization="layer"), "got 'layer'"),
    "threshold's bound": (lambda: larq_insta.InstaThreshold(statistic_bound=0), "got 0"),
    "threshold's NaN bound": (
        lambda: larq_insta.InstaThreshold(statistic_bound=float("nan")), "got nan"),
    "threshold's ratio": (lambda: larq_insta.InstaThreshold(reduction_ratio=0), "got 0"),
    "threshold's broken ratio": (threshold(reduction_ratio=2.5), "whole number; got 2.5"),
    "threshold's NaN ratio": (threshold(reduction_ratio=float("nan")), "whole number; got nan"),
    "threshold's ratio in words": (threshold(reduction_ratio="4"), "whole number; got '4'"),
    "threshold's bound in words": (threshold(statistic_bound="x"), "or positive; got 'x'"),
    "threshold's list of statistics": (threshold(statistic=["mean"]), "got ['mean']"),
    "threshold's gradient": (threshold(stop_gradient="no"), "`stop_gradient` .* got 'no'"),
    "threshold's return": (threshold(return_statistic="no"), "`return_statistic` .* got 'no'"),
    "threshold's regularizer": (threshold(alpha_regularizer="l3"), "`alpha_reg.* got 'l3'"),
    "beta's regularizer": (
        lambda: larq_insta.StaticThreshold(beta_regularizer="l3"), "`beta_reg.* got 'l3'"),
    "threshold's type": (threshold(dtype="int32"), "floating-point numbers; got int32"),
    "threshold of integers": (
        lambda: larq_insta.InstaThreshold()(INTEGERS), "floating-point numbers; got int32"),
    "static threshold of pixels": (
        lambda: larq_insta.StaticThreshold()(MAPS.astype(np.uint8)), "got uint8"),
    "RPReLU of complex numbers": (
        lambda: larq_insta.RPReLU()(MAPS.astype(np.complex64)), "got complex64"),
    "PReLU of truth values": (lambda: larq_insta.InstaPReLU()(MAPS > 0), "got bool"),
    "sign of integers": (lambda: larq_insta.InstaSign()(INTEGERS), "got int32: cast"),
    "threshold of empty maps": (
        lambda: larq_insta.InstaThreshold()(MAPS[:, :0]), "pixel and channel; got (2, 0, 4, 6)"),
    "RPReLU of no channels": (
        lambda: larq_insta.RPReLU()(MAPS[..., :0]), "one pixel and channel; got (2, 4, 4, 0)"),
    "threshold's combination": (
        lambda: larq_insta.InstaThreshold(reduction_ratio=2, branch_combination="mix"), "'mix'"),
    "threshold's initializer": (
        lambda: larq_insta.InstaThreshold(alpha_initializer="none such"), "none such"),
    "threshold's input": (
        lambda: larq_insta.InstaThreshold()(tf.keras.Input((4, 4, None))), "(None, 4, 4, None)"),
    "vectors without channels": (lambda: larq_insta.StaticThreshold()(np.ones(3)), "(3,)"),
    "threshold's other width": (
        lambda: [layer := larq_insta.InstaThreshold(), layer(MAPS), layer(MAPS[..., :3])], "6"),
    "PReLU's parameters": (lambda: larq_insta.InstaPReLU(instance_aware=("beta",)), "beta"),
    "PReLU's parameters twice": (
        lambda: larq_insta.InstaPReLU(["zeta", "zeta"]), "each once; got ['zeta', 'zeta']"),
    "PReLU's number of parameters": (lambda: larq_insta.InstaPReLU(3), "each once; got 3"),
    "PReLU with others' statistics": (given(5, 1, 1, 6), "got shape (5, 1, 1, 6)"),
    "PReLU with a map": (given(2, 4, 4, 6), "got shape (2, 4, 4, 6)"),
    "PReLU with a vector": (given(2, 6), "got shape (2, 6)"),
    "PReLU's normalization": (lambda: larq_insta.InstaPReLU(normalization="batch"), "'batch'"),
    "PReLU without statistic": (
        lambda: larq_insta.InstaPReLU(statistic=None)(MAPS), "must be called with a statistic"),
    "PReLU with two": (
        lambda: larq_insta.InstaPReLU()(MAPS, statistic=MAPS), "without a statistic; got one"),
    "PReLU with a narrow statistic": (
        lambda: larq_insta.InstaPReLU(statistic=None)(MAPS, statistic=MAPS[:, :1, :1, :2]), "2"),
    "PReLU's input": (lambda: larq_insta.RPReLU()(tf.keras.Input((None,))), "(None, None)"),
    "turn's input": (lambda: larq_insta.HalfTurn()(np.ones((2, 6))), "got (2, 6)"),
    "sign's threshold": (
        lambda: larq_insta.InstaSign(larq_insta.InstaThreshold(return_statistic=True)),
        "got return_statistic=True"),
    "sign's threshold in words": (lambda: larq_insta.InstaSign("mean"), "got 'mean'"),
    "sign's threshold unmade": (
        lambda: larq_insta.InstaSign(larq_insta.InstaThreshold), "or a layer, .* got <class"),
    "sign's input": (lambda: larq_insta.InstaSign()(tf.keras.Input((4, 4, None))), "None"),
    "a statistic": (lambda: statistics.get("kurtosis"), "got 'kurtosis'"),
    "no statistic": (lambda: statistics.get(None), "got None"),
    "a model's stem": (lambda: models.ReActNet18(stem="big"), "got 'big'"),
    "a model's binary": (lambda: models.ReActNet18(binary="some"), "got 'some'"),
    "a model's float weights": (lambda: models.ReActNet18(float_weights="int4"), "got 'int4'"),
    "a model's padding": (lambda: models.ReActNet18(pad_values=0.5), "got 0.5"),
    "a model's classes": (lambda: models.ReActNet18(num_classes=0), "got 0"),
    "a model's shape": (lambda: models.ReActNet18(input_shape=(224, 224)), "(224, 224)"),
    "a model's size": (lambda: models.ReActNet18(input_shape=(16, 16, 3)), "(16, 16, 3)"),
    "a model's channels": (lambda: models.ReActNet18(input_shape=(64, 64, None)), "None"),
    "a model's filters": (lambda: models.ReActNet18(filters=()), "got ()"),
    "a model's negative filters": (lambda: models.ReActNet18(filters=(4, -1)), "(4, -1)"),
    "a model's one filter": (model(filters=4), "write (4, ...)"),
    "a model's no filters": (model(filters=None), "value None"),
    "a model's one size": (model(input_shape=28), "write (28, ...)"),
    "a model's one block": (model(insta_blocks=3), "write (3, ...)"),
    "a model's broken filters": (model(filters=(4, 2.5)), "got (4, 2.5)"),
    "a model's channels below 0": (model(input_shape=(8, 8, -1)), "got (8, 8, -1)"),
    "a model's classes in words": (model(num_classes="3"), "num_classes.* value '3'"),
    "a model's tensor in words": (model(input_tensor="x"), "must be a tensor; got str"),
    "a model's tensor as array": (model(input_tensor=MAPS), "must be a tensor; got ndarray"),
    "a model's folder of weights": (model(weights="/tmp"), "got '/tmp', which is a folder"),
    "a model's file of other things": (model(weights=__file__), "test_bad_input.py"),
    "a model's weights of another": (
        model(weights=str(pretrained.checkpoint("fashion_mnist"))), "must be a file of this model"),
    "a model's unnamed function": (lambda: models.get(None), "got None"),
    "a model's ImageNet weights": (lambda: models.ReActNet18(weights="imagenet"), "ImageNet"),
    "a model's weights": (lambda: models.ReActNet18(weights="no.h5"), "got 'no.h5'"),
    "a model's trained weights": (
        lambda: models.ReActNet18(weights="fashion_mnist"), "InstaResNet18"),
    "a model's tensor": (lambda: models.ReActNet18(input_tensor=tf.zeros((1, 4, 4, 3))), "4"),
    "a model's widening": (
        lambda: models.ReActNetA(input_shape=(32, 32, 3), filters=(8, 24)), "24 after 8"),
    "a model's blocks": (
        lambda: models.InstaResNet18(**SMALL, insta_blocks=("stage7",)), "stage7"),
    "a model's empty blocks": (lambda: models.InstaResNet18(**SMALL, insta_blocks=()), "()"),
    "a model's threshold": (insta(statistik="mean"), "statistik"),
    "a model's ratio": (insta(reduction_ratio=-1), "-1"),
    "a profile of a subclass": (
        lambda: larq_insta.profile(type("Net", (tf.keras.Model,), {})()), "Net"),
    "a profile of a word": (lambda: larq_insta.profile("InstaResNet18"), "'InstaResNet18'"),
    "a profile of a layer": (lambda: larq_insta.profile(tf.keras.layers.Dense(1)), "Dense"),
    "a data set": (lambda: data.load("digitz"), "digits"),
    "a data set's size": (lambda: data.load("digits", image_size=2), "got 2"),
    "a data set's large size": (lambda: data.load("digits", image_size=20_000), "from 8 to 16384"),
    "a data set without a name": (lambda: data.load(""), "write ./"),
    "pictures to inspect": (inspect(1, 8, 8, 3), "got (1, 8, 8, 3)"),
    "no pictures to inspect": (inspect(0, 8, 8, 1), "got (0, 8, 8, 1)"),
    "a data set's share": (lambda: data.load("digits", validation_share=1.0), "got 1.0"),
    "a data set's folder": (lambda: data.load("./nowhere"), "nowhere"),
    "a model file": (lambda: runtime.open_model(Path("no.tflite")), "'no.tflite'"),
    "a checkpoint": (lambda: keras_files.load(Path("no.keras")), "'no.keras'"),
    "a checkpoint's kind": (lambda: keras_files.load(Path(__file__)), "test_bad_input.py"),
    "a picture": (lambda: runtime.read_picture(Path("no.png"), Preprocessing(8, 1)), "'no.png'"),
    "a preprocessing's size": (lambda: Preprocessing(0, 1), "got 0"),
    "a preprocessing's channels": (lambda: Preprocessing(8, 2), "got 2"),
    "a preprocessing's crop": (lambda: Preprocessing(8, 1, crop=float("nan")), "got nan"),
    "a preprocessing's std": (lambda: Preprocessing(8, 1, std=(float("inf"),)), "got (inf,)"),
    "images of another size": (fashion(np.zeros((1, 28, 27, 1))), "(1, 28, 27, 1)"),
    "images of other channels": (fashion(np.zeros((1, 28, 28, 3))), "(1, 28, 28, 3)"),
    "one image without a batch": (fashion(np.zeros((28, 28, 1))), "(28, 28, 1)"),
    "images of words": (fashion(np.full((1, 28, 28, 1), "x")), "<U1"),
    "images of NaN": (fashion(np.full((1, 28, 28, 1), np.nan)), "nan"),
    "images of infinity": (fashion(np.full((1, 28, 28, 1), -np.inf)), "-inf"),
    "images of another size for Keras": (fashion_keras(np.zeros((1, 28, 27, 1))), "(1, 28, 27, 1)"),
    "images of NaN for Keras": (fashion_keras(np.full((1, 28, 28, 1), np.nan)), "nan"),
    "a target's suffix": (convert("x.onnx"), "'x.onnx'"),
    "pictures of another size": (convert(shape=(2, 7, 8, 1)), "got (2, 7, 8, 1)"),
    "a picture alone": (convert(shape=(8, 8, 1)), "got (8, 8, 1)"),
    "no pictures": (convert(shape=(0, 8, 8, 1), labels=0), "got (0, 8, 8, 1)"),
    "fewer labels than pictures": (convert(labels=1), "and (1,)"),
    "a card of fewer classes": (
        convert(card=replace(CARD, class_names=("a", "b"))), "1 channels and 2 classes"),
    "a runtime": (convert(runtime="gpu"), "got 'gpu'"),
    "float weights' kind": (convert(float_weights="int4"), "int4"),
    "a published checkpoint": (
        lambda: weights.load_reactnet(models.ReActNet18(**SMALL), __file__), "test_bad_input.py"),
    "no published checkpoint": (
        lambda: weights.load_reactnet(models.ReActNet18(**SMALL), "no.pth"), "no.pth"),
    "a configuration's steps": (lambda: Configuration("ReActNet18", steps=("all",)), "got all"),
    "a configuration's epochs": (
        lambda: Configuration("ReActNet18", epochs=(1, 2)), "(both); got 2"),
    "a configuration's parts of epochs": (checked(epochs=1.5), "a whole number; got 1.5"),
    "a configuration's epochs in words": (checked(epochs="x"), "a whole number; got 'x'"),
    "a configuration's batches": (checked(batch_size=2.5), "a whole number; got 2.5"),
    "a configuration's rate in words": (checked(learning_rate="x"), "be a number; got 'x'"),
    "a configuration's infinite decay": (
        checked(weight_decay=float("inf")), "`weight_decay` must be finite; got inf"),
    "a configuration's seed": (checked(seed=0.5), "a whole number; got 0.5"),
    "a configuration's trained parts": (checked(trainable=3), "got 3"),
    "a configuration's recipe": (
        lambda: Configuration.from_recipe("fast", "ReActNet18", {}), "got 'fast'"),
    "a configuration's rate": (
        lambda: Configuration("ReActNet18", learning_rate=(0.0,)).check(), "got 0.0"),
    "a teacher": (lambda: distillation.load_teacher("ResNet51", data.load("digits")), "ResNet51"),
    "weights of another model": (
        lambda: keras_files.hand_over(
            models.ReActNet18(**SMALL), models.ReActNet18(**{**SMALL, "num_classes": 5})),
        "(4, 3) for (4, 5)"),
}  # fmt: skip


def in_pattern(message):
    """What is literal but for `.*`."""
    return ".*".join(re.escape(part) for part in message.split(".*"))


@pytest.mark.parametrize(("call", "message"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_name_the_value_that_they_cannot_use(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, TypeError)) as error:
        call()
    lines = str(error.value).splitlines()  # Keras adds its own around those of calls
    assert any(re.search(in_pattern(message), line) for line in lines)
    assert not list(tmp_path.iterdir())


def test_there_are_as_many_cases_as_promised():
    assert len(COMMANDS) + len(FUNCTIONS) >= 150


def saved(mode, **options):
    def save(path):
        image = Image.fromarray(np.full((20, 16, 3), 200, np.uint8))
        palette = {"palette": Image.Palette.ADAPTIVE} if mode == "P" else {}
        image.convert(mode, **palette).save(path, **options)

    return save


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    saved("RGB", exif=exif)(path)


def deep(path):
    Image.fromarray(np.full((20, 16), 40_000, np.uint16)).save(path)


ODD = {
    "grey.png": saved("L"),
    "bits.png": saved("1"),
    "palette.png": saved("P"),
    "alpha.png": saved("RGBA"),
    "grey_alpha.png": saved("LA"),
    "deep.png": deep,
    "inks.jpg": saved("CMYK"),
    "turned.jpg": turned,
    "palette.gif": saved("P"),
    "animated.gif": saved("P", save_all=True, append_images=[Image.new("P", (16, 20))] * 2),
    "plain.bmp": saved("RGB"),
    "plain.webp": saved("RGB"),
    "UPPER.JPEG": saved("RGB"),
    "k\udcffste.png": saved("RGB"),
    "two words.png": saved("RGB"),
    "-dash.png": saved("RGB"),
}


def test_pictures_of_every_common_kind_are_answered(tmp_path):
    for name, save in ODD.items():
        save(tmp_path / name)
    lines = run("predict", "fashion_mnist", *(tmp_path / name for name in ODD)).splitlines()
    assert len(lines) == len(ODD)
    assert all("%" in line for line in lines)


def test_a_pixel_is_a_picture(tmp_path):
    Image.new("L", (1, 1)).save(tmp_path / "pixel.png")
    assert "%" in run("predict", "fashion_mnist", tmp_path / "pixel.png")


@pytest.mark.parametrize("shape", [(0, 4, 4, 6), (2, 1, 1, 6), (2, 4, 4, 1), (1, 7, 1, 3)])
@pytest.mark.parametrize(
    "layer",
    [
        larq_insta.InstaThreshold,
        lambda: larq_insta.InstaThreshold("skewness", normalization="statistic"),
        lambda: larq_insta.InstaThreshold(reduction_ratio=4),
        lambda: larq_insta.InstaPReLU(instance_aware=("gamma", "slope", "zeta")),
        larq_insta.InstaSign,
        larq_insta.RPReLU,
        larq_insta.HalfTurn,
    ],
)
def test_maps_of_odd_shapes_stay_finite(layer, shape, rng):
    y = layer()(rng.normal(size=shape).astype(np.float32))
    assert y.shape == shape
    assert np.all(np.isfinite(y))


def test_an_empty_batch_gets_no_answers():
    images = np.zeros((0, 28, 28, 1), np.float32)
    for model in (
        runtime.open_model(FASHION),
        runtime.open_model(FASHION, processes=1),
        runtime.KerasModel(pretrained.checkpoint("fashion_mnist")),
    ):
        assert model.predict(images).shape == (0, 10)


@pytest.mark.slow
def test_a_folder_of_odd_pictures_trains(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for odd, save in ODD.items():
            save(tmp_path / "set" / name / odd)
        (tmp_path / "set" / name / "notes.txt").write_text("stray")
        (tmp_path / "set" / name / "folder").mkdir()
    run("train", "ReActNet18", "--filters", 4, "--dataset", tmp_path / "set", "--image-size", 16,
        "--epochs", 1, "--batch-size", 8, "--output", tmp_path / "run")  # fmt: skip
    assert (tmp_path / "run" / "best.keras").exists()
