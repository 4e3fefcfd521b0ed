"""Named ways to train. Every value of a recipe is a default that the user may override."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from larq_insta_runtime.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """One row of the table.

    `steps` says what is binary in each training step: `"activations"`, `"both"`, or
    `"neither"` for a float model. `epochs`, `learning_rate` and `weight_decay` have one
    value a step, `trainable` too, or one for all; the decay acts on kernels of convolutions
    only.
    """

    source: str
    dataset: str
    batch_size: int
    epochs: tuple[int, ...]
    learning_rate: tuple[float, ...]
    weight_decay: tuple[float, ...]
    steps: tuple[str, ...] = ("activations", "both")
    trainable: tuple[str, ...] = ("all",)
    validation_share: float = 0.1
    teacher: str | None = None
    temperature: float = 1.0
    hard_label_share: float = 0.0
    filters: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    command: str = ""
    measured: str = ""

    def settings(self, model: str) -> dict[str, Any]:
        """Arguments of a training's `Configuration` for `model`."""
        values = {**vars(self)}
        for name in ("source", "command", "measured", "filters"):
            del values[name]
        arguments = {"filters": self.filters[model]} if model in self.filters else {}
        return {**values, "model_arguments": arguments}

    def describe(self) -> str:
        """Source, command, values, and what came of it, for a reader."""
        values = [
            f"{self.dataset}, {' then '.join(self.steps)} binary",
            f"trains {' then '.join(self.trainable)}",
            f"epochs {_listed(self.epochs)}",
            f"batch {self.batch_size}",
            f"learning rate {_listed(self.learning_rate)}",
            f"weight decay {_listed(self.weight_decay)}",
            f"teacher {self.teacher or 'none'}",
        ]
        lines = [", ".join(values), f"source: {self.source}", f"command: {self.command}"]
        lines.append(f"measured: {self.measured or 'not yet'}")
        return "\n  ".join(lines)


def _listed(values: tuple[Any, ...]) -> str:
    return " and ".join(f"{value:g}" for value in values)


_RESNETS = ("InstaResNet18", "ReActNet18")
_MOBILENETS = ("InstaMobileNetV1", "ReActNetA")
_SMALL_FILTERS = {
    **dict.fromkeys(_RESNETS, (16, 32, 64)),
    **dict.fromkeys(_MOBILENETS, (16, 32, 64, 64, 128, 128)),
}
_REACTNET = "Liu et al., ReActNet (ECCV 2020) and its published code; "
_REACTNET_CHANGES = (
    "teacher ResNet-50 for their ResNet-34, which Keras does not have; the learning rate falls "
    "at every step of training and not to zero; 1 % of the training pictures choose the checkpoint"
)

RECIPES: dict[str, Recipe] = {
    "reactnet_resnet18": Recipe(
        source=f"{_REACTNET}{_REACTNET_CHANGES}",
        dataset="imagenet2012",
        batch_size=512,
        epochs=(128, 128),
        learning_rate=(2.5e-3, 2.5e-3),
        weight_decay=(1e-5, 0.0),
        validation_share=0.01,
        teacher="ResNet50",
        command="larq-insta train InstaResNet18 --recipe reactnet_resnet18 --output resnet18",
    ),
    "reactnet_mobilenetv1": Recipe(
        source=f"{_REACTNET}{_REACTNET_CHANGES}",
        dataset="imagenet2012",
        batch_size=256,
        epochs=(128, 128),
        learning_rate=(1.25e-3, 1.25e-3),
        weight_decay=(1e-5, 0.0),
        validation_share=0.01,
        teacher="ResNet50",
        command="larq-insta train InstaMobileNetV1 --plus --recipe reactnet_mobilenetv1 "
        "--output mobilenet",
    ),
    "finetune": Recipe(
        source="ours: from a ReActNet's weights, first what tells an INSTA-BNN from it, then all; "
        "the reasons are in docs/checkpoints.md",
        dataset="imagenet2012",
        batch_size=256,
        epochs=(2, 14),
        learning_rate=(1e-3, 1e-3),
        weight_decay=(0.0,),
        steps=("both", "both"),
        trainable=("channelwise", "all"),
        validation_share=0.01,
        teacher="ResNet50",
        command="larq-insta train InstaResNet18 --recipe finetune "
        "--initial-weights model_best.pth.tar --output finetuned",
    ),
    "small": Recipe(
        source="ours: ReActNet's two steps, shortened for small pictures and two CPU cores",
        dataset="fashion_mnist",
        batch_size=128,
        epochs=(6, 6),
        learning_rate=(2.5e-3, 2.5e-3),
        weight_decay=(1e-5, 0.0),
        filters=_SMALL_FILTERS,
        command="larq-insta train InstaResNet18 --recipe small "
        "--teacher teacher/best.keras --output student",
        measured="test accuracy 90.98 % after 34 min on two CPU cores, seed 0, 2026-11-24; "
        "91.32 % with --insta-blocks all --no-reuse, 2026-11-23",
    ),
    "small_teacher": Recipe(
        source="ours: a float model of the same layers, to teach `small` ones",
        dataset="fashion_mnist",
        batch_size=128,
        epochs=(6,),
        learning_rate=(2.5e-3,),
        weight_decay=(1e-5,),
        steps=("neither",),
        filters=_SMALL_FILTERS,
        command="larq-insta train ReActNet18 --recipe small_teacher --output teacher",
        measured="test accuracy 92.05 % after 10 min on two CPU cores, seed 0, 2026-11-23",
    ),
    "quick": Recipe(
        source="ours: one step, for digits and first tries",
        dataset="digits",
        batch_size=64,
        epochs=(60,),
        learning_rate=(2.5e-3,),
        weight_decay=(0.0,),
        steps=("both",),
        command="larq-insta train InstaResNet18 --recipe quick --filters 16,32,64 --output digits",
    ),
}

DEFAULT = "quick"


def get(name: str) -> Recipe:
    """The recipe called `name`.

    # Raises
        InputError: if there is none of that name.
    """
    if name not in RECIPES:
        raise InputError(f"Recipes are {', '.join(RECIPES)}; got {name!r}.")
    return RECIPES[name]
