"""Which Keras TensorFlow gets, and what is said where it has the wrong one."""

import os
import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from larq_insta import compat

ASK = "TF_USE_LEGACY_KERAS"


@pytest.fixture
def environment(monkeypatch):
    """As before TensorFlow is imported, with no wish."""
    monkeypatch.delitem(sys.modules, "tensorflow")
    monkeypatch.setattr(compat.util, "find_spec", lambda name: name)
    monkeypatch.setenv(ASK, "")  # so that what a test leaves there is taken back
    monkeypatch.delenv(ASK)
    return monkeypatch


@pytest.mark.parametrize(("installed", "asked"), [("2.15.0", None), ("3.5.0", "1")])
def test_tf_keras_is_asked_for_where_keras_is_3(installed, asked, environment):
    environment.setattr(metadata, "version", lambda name: installed)
    compat.choose_keras()
    assert os.environ.get(ASK) == asked


def test_a_wish_is_kept_but_by_commands(environment):
    environment.setattr(metadata, "version", lambda name: "3.5.0")
    environment.setenv(ASK, "0")
    compat.choose_keras()
    assert os.environ[ASK] == "0"
    compat.choose_keras(always=True)
    assert os.environ[ASK] == "1"


@pytest.mark.parametrize("missing", ["tf_keras", "keras"])
def test_nothing_is_asked_for_without(missing, environment):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    environment.setattr(metadata, "version", version)
    environment.setattr(compat.util, "find_spec", lambda name: None if name == missing else name)
    compat.choose_keras()
    assert ASK not in os.environ


def test_nothing_is_asked_for_once_tensorflow_is_there(environment):
    environment.setattr(metadata, "version", lambda name: "3.5.0")
    environment.setitem(sys.modules, "tensorflow", object())
    compat.choose_keras()
    assert ASK not in os.environ


@pytest.mark.parametrize("missing", [False, True])
def test_keras_3_is_refused_with_the_remedy(missing, environment):
    tensorflow = SimpleNamespace(__version__="2.19.1", keras=SimpleNamespace(__version__="3.15.1"))
    environment.setattr(compat.util, "find_spec", lambda name: None if missing else name)
    with pytest.raises(ImportError) as error:
        compat.check_keras(tensorflow)
    message = str(error.value)
    assert "TensorFlow 2.19.1 was imported with Keras 3.15.1" in message
    assert "import larq_insta before tensorflow and larq" in message
    assert ('pip install "tf_keras==2.19.*"' in message) == missing
    assert len(message.splitlines()) == 1


@pytest.mark.slow
def test_tensorflow_may_come_first_where_its_keras_is_2():
    code = "import tensorflow, larq_insta; print(larq_insta.InstaThreshold.__name__)"
    bare = {name: value for name, value in os.environ.items() if name != ASK}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=bare, check=False)
    if metadata.version("keras").startswith("2."):
        assert done.stdout == "InstaThreshold\n", done.stderr
    else:
        assert "larq_insta needs Keras 2" in done.stderr.splitlines()[-1]
