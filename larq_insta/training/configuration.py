"""Everything that a training depends on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from numbers import Integral, Real
from typing import Any

from larq_insta.lite.errors import InputError
from larq_insta.training import recipes

_WHEREABOUTS = ("data_dir", "manual_dir", "cache")
STEPS = ("activations", "both", "neither")
_OF_EACH_STEP = ("epochs", "learning_rate", "weight_decay", "trainable")
TRAINABLE = ("all", "channelwise")

_COUNT = (Integral, "at least 1", lambda x: x >= 1)
_POSITIVE = (Real, "positive", lambda x: x > 0)
_NOT_NEGATIVE = (Real, "at least 0", lambda x: x >= 0)
_NUMBERS: dict[str, tuple[type, str, Callable[[Any], bool]]] = {
    "epochs": _COUNT,
    "batch_size": _COUNT,
    "learning_rate": _POSITIVE,
    "temperature": _POSITIVE,
    "weight_decay": _NOT_NEGATIVE,
    "attention_weight": _NOT_NEGATIVE,
    "hard_label_share": (Real, "from 0 to 1", lambda x: 0 <= x <= 1),
    "seed": (Integral, "at least 0 and below 2**31", lambda x: 0 <= x < 2**31),
}
"""Fields of finite numbers: their kinds, and rules that they must keep."""


@dataclass(frozen=True)
class Configuration:
    """One training, of one or more steps; `recipes` has values from the literature.

    # Arguments
        model: Name of the model.
        dataset: Name or folder of the data set.
        model_arguments: Arguments of the model beside picture size, classes and stem.
        validation_share, augmentation: See `data.load`.
        steps: What is binary in each step: `"activations"`, `"both"`, or `"neither"`.
        epochs, learning_rate, weight_decay: One value a step, or one for all. The rate
            falls linearly over each step, to zero one update after the last.
        trainable: What each step trains, or one for all: `"all"` weights or the
            `"channelwise"` ones of thresholds, PReLUs and batch normalisations.
        channels: Of pictures in folders as the model sees them; see `data.load`.
        initial_weights: A file to start from, a checkpoint or a published ReActNet's for
            PyTorch, or a trained model's name; the model takes its arguments, but for those
            in `model_arguments`. For another number of classes the classifier is new.
        batch_size: Pictures an update, over all devices.
        teacher, foreign_input: See `distillation.load_teacher`.
        temperature, hard_label_share, attention_weight: See `distillation.Distillation`.
    """

    model: str
    dataset: str = "digits"
    model_arguments: Mapping[str, Any] = field(default_factory=dict)
    image_size: int | None = None
    channels: int | None = None
    validation_share: float = 0.1
    augmentation: str | None = None
    steps: tuple[str, ...] = ("both",)
    epochs: tuple[int, ...] = (60,)
    learning_rate: tuple[float, ...] = (2.5e-3,)
    weight_decay: tuple[float, ...] = (0.0,)
    trainable: tuple[str, ...] = ("all",)
    batch_size: int = 64
    seed: int = 0
    initial_weights: str | None = None
    teacher: str | None = None
    foreign_input: str = "normalized"
    temperature: float = 1.0
    hard_label_share: float = 0.0
    attention_weight: float = 0.0
    data_dir: str | None = None
    manual_dir: str | None = None
    cache: str | None = None

    def __post_init__(self) -> None:
        unknown = [step for step in self.steps if step not in STEPS]
        if unknown or not self.steps:
            raise InputError(f"Steps are of {', '.join(STEPS)}; got {_listed(unknown) or 'none'}.")
        for name in _OF_EACH_STEP:
            object.__setattr__(self, name, self._each_step(name))

    @classmethod
    def from_recipe(cls, recipe: str, model: str, overrides: Mapping[str, Any]) -> Configuration:
        """A recipe's values for `model`, but for those in `overrides`."""
        settings = recipes.get(recipe).settings(model)
        arguments = {**settings.pop("model_arguments"), **overrides.get("model_arguments", {})}
        if len(overrides.get("steps", settings["steps"])) < len(settings["steps"]):
            # Of fewer steps than the recipe's, the values are those of its last ones.
            count = len(overrides["steps"])
            for name in _OF_EACH_STEP:
                settings[name] = settings[name][-count:]
        return cls(model=model, **{**settings, **overrides, "model_arguments": arguments})

    def check(self) -> None:
        """# Raises
        InputError: if a value is out of its range.
        """
        unknown = [kind for kind in self.trainable if kind not in TRAINABLE]
        if unknown:
            raise InputError(f"`trainable` is of {' or '.join(TRAINABLE)}; got {_listed(unknown)}.")
        for name in _NUMBERS:
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                _check_number(name, number)

    def identity(self) -> dict[str, Any]:
        """All that the results depend on, as JSON has it; not where files lie."""
        values = {k: v for k, v in asdict(self).items() if k not in _WHEREABOUTS}
        return json.loads(json.dumps(values))

    def _each_step(self, name: str) -> tuple[Any, ...]:
        value = getattr(self, name)
        values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
        count = len(self.steps)
        if len(values) == 1:
            return values * count
        if len(values) != count:
            raise InputError(
                f"`{name}` must have one value, or one for each of the {count} steps "
                f"({', '.join(self.steps)}); got {len(values)}."
            )
        return values


def _check_number(name: str, number: Any) -> None:
    kind, rule, holds = _NUMBERS[name]
    if not isinstance(number, kind):
        rule = "a whole number" if kind is Integral else "a number"
    elif number == math.inf:
        rule = "finite"
    elif holds(number):
        return
    raise InputError(f"`{name}` must be {rule}; got {number!r}.")


def _listed(values: Iterable[Any]) -> str:
    """As they are, but for those that nobody would see."""
    return ", ".join(str(value) or "''" for value in values)
