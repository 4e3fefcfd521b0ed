"""What commands say to input that they cannot use."""

import shutil
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY, run, tiny
from PIL import Image

from larq_insta.checkpoints import keras_files
from larq_insta_runtime import writing

TRAIN = ["train", "ReActNetA", "--filters", "4,4", "--epochs", "1", "--output", "{tmp}/new"]
INSTA = ["train", *TINY, "--epochs", "1", "--output", "{tmp}/new"]
SUMMARY = ["summary", *TINY, "--image-size", "32"]
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
    body = tiny("ReActNetA", input_shape=(None, None, 1), include_top=False)
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


@pytest.mark.quick(40)
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
        "train", *TINY, "--dataset", tmp_path / "pictures", "--image-size", 9,
        "--epochs", 1, "--output", tmp_path / "run", code=2,
    )  # fmt: skip
    assert "Error: Every picture must be there, as a whole JPEG, PNG, GIF" in output
    assert ".png is not: restore, repair or remove it." in output


def test_there_are_as_many_cases_as_promised():
    assert len(COMMANDS) >= 150
