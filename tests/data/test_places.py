"""What a data set's name means: a set of a library, or a folder."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import run
from test_layouts import fill

from larq_insta import data
from larq_insta.lite import packaged
from larq_insta.lite.errors import InputError


class Kinds(tfds.core.BuilderConfig):
    """A configuration with a name of its own."""


class TinyKinds(tfds.core.GeneratorBasedBuilder):
    """Ten pictures each in two configurations, of which the second is brighter."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [Kinds(name="dark-v2"), Kinds(name="bright")]  # noqa: RUF012
    pkg_dir_path = Path(__file__).parent

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(8, 8, 1)),
            "label": tfds.features.ClassLabel(names=["x", "y"]),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(10), "test": self._generate_examples(10)}

    def _generate_examples(self, count):
        value = 200 if self.builder_config.name == "bright" else 10
        for i in range(count):
            yield i, {"image": np.full((8, 8, 1), value, np.uint8), "label": i % 2}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tiny_kinds", 10),
        ("tiny_kinds/dark-v2", 10),
        ("tiny_kinds/bright", 200),
        ("tiny_kinds/bright:1.0.0", 200),
    ],
)
def test_configurations_are_named_behind_a_slash(here, name, value):
    pictures, _ = data.load(name, data_dir="tfds").test_pictures(1, normalized=False)
    assert pictures.max() == value


@pytest.mark.parametrize("name", ["digits", "tiny_kinds", "tiny_kinds/bright"])
def test_names_come_first_and_paths_lead_to_folders(here, name):
    fill(here / name, {"a": 5, "b": 5})
    named = data.load(name, data_dir="tfds")
    assert named.class_names != ("a", "b")
    assert named.notes[0].endswith(f"data set; write ./{name} for the folder of this name.")
    for path in (f"./{name}", f"{name}/", str(here / name)):
        assert data.load(path, data_dir="tfds").class_names == ("a", "b")


def test_a_prepared_data_set_is_no_folder_of_classes(here):
    for _ in range(2):
        dataset = data.load("tiny_kinds", data_dir=".")
        assert (dataset.class_names, dataset.notes) == (("x", "y"), ())


@pytest.mark.parametrize("name", ["pets", "my pets", "data/pets", "tiny_kinds/photos", "a:b/c"])
def test_other_names_are_folders(here, name):
    fill(here / name, {"a": 5, "b": 5})
    dataset = data.load(name)
    assert (dataset.class_names, dataset.notes) == (("a", "b"), ())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("data/pets", "or a folder; got 'data/pets'"),
        ("tiny_kind/bright", r"got 'tiny_kind/bright'. Did you mean tiny_kinds\?"),
        ("tiny_kinds/brght", "BuilderConfig brght not found"),
        ("tiny_kinds:9.9.9", "cannot be loaded at version 9.9.9"),
        ("./tiny_kinds", "folder must exist; got 'tiny_kinds'"),
    ],
)
def test_what_is_neither_is_refused(here, name, words):
    with pytest.raises(InputError, match=words):
        data.load(name)


def test_a_data_set_that_cannot_be_had_reminds_of_the_folder(here, monkeypatch):
    fill(here / "tiny_kinds", {"a": 5, "b": 5})
    monkeypatch.setattr(TinyKinds, "_split_generators", lambda *_: 1 / 0)
    with pytest.raises(InputError, match="or write ./tiny_kinds for the folder of this name"):
        data.load("tiny_kinds", data_dir="tfds")


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_the_packaged_model_is_found_beside_a_data_set_of_its_name(here, make, pytestconfig):
    make(here / "fashion_mnist")
    assert packaged.find(Path("fashion_mnist")) == packaged.converted("fashion_mnist")
    boot = pytestconfig.rootpath / "docs/boot.png"
    assert "Ankle boot" in run("predict", "fashion_mnist", boot)
