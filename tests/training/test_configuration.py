"""Recipes, and values that a training cannot have."""

import re
from dataclasses import replace

import pytest

from larq_insta import training
from larq_insta.training import recipes
from larq_insta.training.configuration import Configuration
from larq_insta_runtime.errors import InputError

TWO_STEPS = Configuration("InstaResNet18", steps=("activations", "both"))


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_can_be_used_and_is_described(name):
    Configuration.from_recipe(name, "InstaResNet18", {}).check()
    description = recipes.RECIPES[name].describe()
    assert f"--recipe {name}" in description or name == recipes.DEFAULT
    assert "source: " in description


def test_values_given_override_a_recipe():
    overrides = {"epochs": (7,), "teacher": None, "model_arguments": {"plus": True}}
    configuration = Configuration.from_recipe("small", "InstaResNet18", overrides)
    assert configuration.epochs == (7, 7)
    assert configuration.teacher is None
    assert configuration.model_arguments == {"filters": (16, 32, 64), "plus": True}
    assert configuration.weight_decay == (1e-5, 0.0)
    one_step = Configuration.from_recipe("small", "ReActNetA", {"steps": ("both",)})
    assert one_step.weight_decay == (0.0,)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": ("weights",)}, "activations, both, neither; got weights"),
        ({"epochs": (1, 2, 3)}, "one value, or one for each of the 2 steps"),
        ({"epochs": (0,)}, "`epochs` must be at least 1; got 0"),
        ({"batch_size": 0}, "`batch_size` must be at least 1; got 0"),
        ({"learning_rate": (0.0,)}, "`learning_rate` must be positive; got 0.0"),
        ({"learning_rate": (float("nan"),)}, "`learning_rate` must be positive; got nan"),
        ({"weight_decay": (-1.0,)}, "`weight_decay` must be at least 0; got -1.0"),
        ({"temperature": 0.0}, "`temperature` must be positive; got 0.0"),
        ({"hard_label_share": 1.5}, "`hard_label_share` must be from 0 to 1; got 1.5"),
        ({"attention_weight": -1.0}, "`attention_weight` must be at least 0; got -1.0"),
        ({"seed": -1}, "`seed` must be at least 0 and below"),
    ],
)
def test_values_out_of_range_are_refused(change, words, tmp_path):
    with pytest.raises(InputError, match=re.escape(words)):
        training.train(replace(TWO_STEPS, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()
