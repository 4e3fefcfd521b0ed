"""What holds for the package as a whole."""

import subprocess
import sys

import click
import pytest

import larq_insta
from larq_insta import models, zoo
from larq_insta.cli import cli


def python(code):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_help_does_not_import_tensorflow():
    code = """
import sys
from larq_insta.cli import cli
for command in [[], *[[name] for name in cli.commands]]:
    cli([*command, "--help"], standalone_mode=False)
print("tensorflow" in sys.modules, "numpy" in sys.modules)
"""
    output = python(code)
    assert "Usage:" in output
    assert output.splitlines()[-1] == "False False"


@pytest.mark.slow
@pytest.mark.parametrize("order", ["larq_insta, larq", "larq_insta, tensorflow"])
def test_classes_are_registered_whatever_is_imported_first(order):
    code = f"""
import {order}
import tensorflow as tf
import larq as lq
print(type(lq.quantizers.get("insta_sign")).__name__)
print(tf.keras.utils.get_registered_object("larq_insta>InstaThreshold").__name__)
"""
    assert python(code).split() == ["InstaSign", "InstaThreshold"]


def test_public_names_exist():
    assert all(getattr(larq_insta, name) is not None for name in larq_insta.__all__)
    assert set(larq_insta.__all__) <= set(dir(larq_insta))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = larq_insta.nothing


def test_models_live_in_the_zoo():
    assert zoo.__name__ == "larq_insta.zoo"
    assert models.InstaResNet18.__module__ == "larq_insta.zoo.resnet18"
    assert "zoo" not in sys.modules


def test_every_command_and_option_has_help():
    for command in cli.commands.values():
        assert command.help
        assert command.get_short_help_str()
    assert isinstance(cli, click.Group)


def test_readme_is_short(pytestconfig):
    lines = (pytestconfig.rootpath / "README.md").read_text().splitlines()
    assert len(lines) <= 120
    assert any("python -m pytest" in line for line in lines)
