"""The command line from end to end on real digits, and what it says to wrong input."""

import json
import re
import runpy
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from conftest import FASHION, TINY, assert_same_weights, run, without_tracing

from larq_insta import data
from larq_insta.checkpoints import keras_files
from larq_insta_runtime import flatbuffer
from larq_insta_runtime.card import Card
from larq_insta_runtime.graph import Graph


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "digit.png"
    image, _ = next(iter(data.load("digits").test.examples))
    path.write_bytes(tf.io.encode_png(image).numpy())
    return path


def test_training_leaves_everything(trained):
    names = {path.name for path in trained.iterdir()}
    assert names == {
        "best.keras",
        "last.keras",
        "config.json",
        "log.csv",
        "result.json",
        "state",
        "tensorboard",
    }
    config = json.loads((trained / "config.json").read_text())
    assert config["model"] == "InstaMobileNetV1"
    assert config["model_arguments"] == {"filters": [4, 4], "insta_blocks": "all"}
    assert config["versions"]["tensorflow"] == tf.__version__
    assert len((trained / "log.csv").read_text().splitlines()) == 3
    result = json.loads((trained / "result.json").read_text())
    assert 0 < result["test_accuracy"] <= 1
    card = Card.read(trained / "best.keras")
    assert card.class_names == tuple("0123456789")
    assert card.training["epochs"] == [2]


def test_best_checkpoint_is_the_one_with_the_best_validation_accuracy(trained):
    result = json.loads((trained / "result.json").read_text())
    log = np.genfromtxt(trained / "log.csv", delimiter=",", names=True)
    assert result["validation_accuracy"] == pytest.approx(log["val_accuracy"].max())
    assert result["epoch"] == log["val_accuracy"].argmax() + 1
    digits = data.load("digits")
    model = keras_files.load(trained / "best.keras")
    batches = digits.evaluation_batches(digits.validation)
    hits = [np.argmax(model(x), -1) == y for x, y in batches]
    assert np.concatenate(hits).mean() == pytest.approx(result["validation_accuracy"])


@pytest.mark.slow
def test_same_seed_same_weights(trained, tmp_path):
    output = tmp_path / "b"
    with without_tracing():
        run("train", *TINY, "--epochs", 2, "--batch-size", 400, "--output", output)
    assert_same_weights(trained / "last.keras", output / "last.keras")


def test_convert_evaluate_predict(trained, converted, picture):
    keras = run("evaluate", trained / "best.keras")
    lite = run("evaluate", converted)
    accuracy = json.loads((trained / "result.json").read_text())["test_accuracy"]
    assert f"Test accuracy {accuracy:.2%} on 360 pictures of digits" in keras
    lite_accuracy = float(lite.split()[2].rstrip("%")) / 100
    assert lite_accuracy == pytest.approx(accuracy, abs=0.01)
    answers = [
        run("predict", file, picture, picture) for file in (converted, trained / "best.keras")
    ]
    assert answers[0] == answers[1]
    lines = answers[0].splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{picture}: ")
    assert lines[0].count("%") == 3


def test_predict_answers_whatever_it_can_read(converted, picture, tmp_path):
    bad, none = tmp_path / "bad.png", tmp_path / "none.png"
    bad.write_bytes(picture.read_bytes()[:40])
    lines = run("predict", converted, picture, bad, none, picture, code=2).splitlines()
    assert [line.startswith(f"{picture}: ") for line in lines] == [True, False, False, True, False]
    assert str(bad) in lines[1]
    assert f"A picture must exist; got '{none}'" in lines[2]
    assert f"2 of 4 are not, the first {bad}: mend or leave them out." in lines[4]


def test_many_predictions_show_progress(picture):
    lines = run("predict", "fashion_mnist", *[picture] * 100).splitlines()
    assert lines[0] == "Predicting"
    assert len(lines) == 101


@pytest.mark.slow
def test_predictions_need_no_more_memory_for_more_pictures(picture, tmp_path):
    code = """
import resource, sys
from pathlib import Path
from larq_insta.cli import cli
cli(["predict", "fashion_mnist", *map(str, Path(sys.argv[1]).iterdir())], standalone_mode=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    peaks = []
    for count in (100, 10_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for i in range(count):
            (folder / f"{i}.png").hardlink_to(picture)
        command = [sys.executable, "-W", "ignore", "-c", code, str(folder)]
        lines = subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        assert len(lines) == count + 1
        peaks.append(int(lines[-1]))
    assert peaks[1] - peaks[0] < 30_000  # KiB; the pictures together would take 31,000


@pytest.mark.slow
def test_convert_says_what_it_checked(trained, tmp_path):
    output = run("convert", trained / "last.keras", tmp_path / "m.tflite", "--pictures", 50)
    assert "2 of 2 convolutions are binary" in output
    assert "of 50 pictures" in output
    assert json.loads((tmp_path / "m.tflite.json").read_text())["pictures"] == 50


@pytest.mark.slow
def test_convert_without_folds_and_with_small_weights(trained, converted, tmp_path):
    target = tmp_path / "m.tflite"
    run("convert", trained / "best.keras", target, "--no-fold", "--float-weights", "int8")
    plain, folded = (Graph(path.read_bytes()) for path in (target, converted))
    assert len(plain.operators) > len(folded.operators)
    assert plain.traffic > folded.traffic
    report = json.loads((tmp_path / "m.tflite.json").read_text())
    assert (report["fold"], report["float_weights"]) == (False, "int8")


def test_benchmark_times_the_whole_and_its_operators(converted):
    line, machine, *table = run("benchmark", converted, "--runs", 3, "--ops").splitlines()
    assert re.search(r": p50 \d+\.\d\d, p90 \d+\.\d\d, p99 \d+\.\d\d ms, first", line)
    assert machine.startswith("3 runs, threads: 1, kernels: ")
    assert any(row.startswith("| LceBconv2d | ") for row in table)
    assert table[-1].startswith("| sum |")


def test_operators_of_another_version_are_refused(converted, tmp_path):
    model = flatbuffer.unpack(converted.read_bytes())
    code = next(c for c in model.operatorCodes if c.customCode == b"LceBconv2d")
    code.customCode = b"LceBconv9"
    (tmp_path / "new.tflite").write_bytes(flatbuffer.pack(model))
    for command in (["benchmark"], ["evaluate"]):
        output = run(*command, tmp_path / "new.tflite", code=2)
        assert "has LceBconv9: convert it with the installed versions" in output


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5:UserWarning")
def test_a_model_of_keras_itself_can_be_converted(trained, tmp_path):
    model = keras_files.load(trained / "best.keras")
    model.save(tmp_path / "plain.h5")
    output = run("convert", tmp_path / "plain.h5", tmp_path / "m.tflite", code=2)
    assert "give it with --dataset" in output
    options = ["--dataset", "digits", "--input", "normalized"]
    run("convert", tmp_path / "plain.h5", tmp_path / "m.tflite", *options)
    assert Card.read(tmp_path / "m.tflite").class_names == tuple("0123456789")


def test_summary_of_a_name_and_of_a_checkpoint(trained):
    options = ["--image-size", 32, "--filters", "8,16", "--classes", 7, "--plus"]
    table = run("summary", "InstaResNet18", *options)
    assert "stage2_block4_prelu" in table
    assert "head_probs" not in table  # costs nothing
    head = next(line for line in table.splitlines() if line.startswith("head_logits"))
    assert head.split()[1] == "7"
    assert "head_logits" in run("summary", trained / "best.keras")


@pytest.mark.slow
def test_settings_reach_the_layers(tmp_path):
    with without_tracing():
        run(
            "train", "InstaMobileNetV1", "--filters", "4,8", "--epochs", 1, "--plus",
            "--batch-size", 400, "--insta-blocks", "block1_spatial,block1_pointwise",
            "--no-reuse", "--threshold", "normalization=batch", "--threshold",
            "reduction_ratio=2", "--prelu", 'instance_aware=["zeta"]', "--validation-share", 0,
            "--output", tmp_path / "run",
        )  # fmt: skip
    assert not (tmp_path / "run" / "best.keras").exists()  # nothing to choose it by
    model = keras_files.load(tmp_path / "run" / "last.keras")
    threshold = model.get_layer("block1_spatial_threshold")
    assert (threshold.normalization, threshold.reduction_ratio) == ("batch", 2)
    assert model.get_layer("block1_spatial_prelu").instance_aware == ("zeta",)


@pytest.mark.parametrize("script", ["train", "convert"])
def test_root_scripts_are_the_same_commands(script, monkeypatch, capsys, pytestconfig):
    monkeypatch.setattr(sys, "argv", [f"{script}.py", "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(pytestconfig.rootpath / f"{script}.py"), run_name="__main__")
    assert end.value.code == 0
    assert f"Usage: {script}.py [OPTIONS]" in capsys.readouterr().out


@pytest.mark.slow
def test_demo_reaches_its_accuracy(tmp_path, monkeypatch):
    output = run("demo", "--output", tmp_path / "demo")
    accuracies = [
        float(line.split("Test accuracy ")[1].split("%")[0])
        for line in output.splitlines()
        if "Test accuracy" in line
    ]
    assert min(accuracies) >= 90
    report = json.loads((tmp_path / "demo" / "digits.tflite.json").read_text())
    assert report["binary_convolutions"] == report["expected_convolutions"] == 12
    assert report["agreement"] >= 0.99
    assert report["file_accuracy"] >= 0.9
    assert (tmp_path / "demo" / "digits.tflite").stat().st_size < 300_000
    assert output.count("_is_a_") == 5


@pytest.mark.slow
def test_fashion_mnist_of_the_debian_package(tmp_path):
    options = ["--data-dir", tmp_path / "tfds", "--manual-dir", FASHION]
    run(
        "train",
        "InstaResNet18",
        "--dataset",
        "fashion_mnist",
        "--filters",
        "4,8,16",
        "--epochs",
        1,
        "--batch-size",
        250,
        "--output",
        tmp_path / "run",
        *options,
    )
    card = Card.read(tmp_path / "run" / "best.keras")
    assert card.class_names[9] == "Ankle boot"
    assert json.loads((tmp_path / "run" / "result.json").read_text())["test_accuracy"] > 0.6
    target = tmp_path / "m.tflite"
    run("convert", tmp_path / "run" / "best.keras", target, *options)
    output = run("evaluate", target, *options)
    assert "on 10,000 pictures of fashion_mnist" in output
    shutil.rmtree(tmp_path / "tfds")
