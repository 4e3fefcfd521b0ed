"""The cells of the study: its variants, what is compared with what, and the seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SEEDS = 4
EPOCHS = 3
BATCH_SIZE = 64
LEARNING_RATE = 5e-3

STATIC, INSTA_TH, FULL, FULL_PLUS = "static", "INSTA-Th", "INSTA-BNN", "INSTA-BNN+"


@dataclass(frozen=True)
class Variant:
    """A model's settings; `arguments` is `None` for the static model."""

    name: str
    description: str
    arguments: Mapping[str, Any] | None


def _threshold(name: str, description: str, **threshold: Any) -> Variant:
    """INSTA-Th with ReActNet's RPReLU."""
    return Variant(name, description, {"threshold": threshold, "prelu": {"instance_aware": ()}})


def _plus(ratio: int, combination: str) -> Variant:
    place = "added to" if combination == "add" else "in place of"
    return _threshold(
        f"plus, 1/{ratio}, {combination}",
        f"SE branch with 1/{ratio} of the channels, {place} alpha * statistic",
        reduction_ratio=ratio,
        branch_combination=combination,
    )


def _prelu(name: str, description: str, *parameters: str) -> Variant:
    return Variant(name, description, {"prelu": {"instance_aware": parameters}})


VARIANTS = (
    Variant(STATIC, "ReActNet", None),
    _threshold(INSTA_TH, "threshold from the mean of the cube, normalised over the batch"),
    _threshold("mean", "threshold from the mean instead", statistic="mean"),
    _threshold("variance", "threshold from the variance instead", statistic="variance"),
    _threshold("skewness", "threshold from the skewness instead", statistic="skewness"),
    _threshold("raw", "the statistic is not normalised", normalization=None),
    _threshold("batch", "the input is normalised in front of the sign", normalization="batch"),
    _threshold("stopped", "no gradient passes through the statistic", stop_gradient=True),
    *(_plus(ratio, combination) for ratio in (4, 16) for combination in ("add", "replace")),
    _prelu(FULL, "INSTA-Th, and INSTA-PReLU with gamma", "gamma"),
    _prelu("gamma, zeta", "the same with gamma and zeta", "gamma", "zeta"),
    _prelu("gamma, slope, zeta", "the same with all", "gamma", "slope", "zeta"),
    Variant("own", "every INSTA-PReLU has a statistic of its own", {"reuse_statistics": False}),
    Variant("smaller maps", "the first stage static", {"insta_blocks": "all_but_largest_maps"}),
    Variant(
        "unbounded", "statistics as large as they come", {"threshold": {"statistic_bound": None}}
    ),
    Variant("bound 2", "statistics cut off at 2", {"threshold": {"statistic_bound": 2.0}}),
    Variant(FULL_PLUS, "with plus, 1/4, add", {"threshold": {"reduction_ratio": 4}}),
)

COMPARISONS = (
    ("Do thresholds that follow the instance help?", INSTA_TH, STATIC),
    ("Does the whole of INSTA-BNN help?", FULL, STATIC),
    ("Does INSTA-BNN+ help?", FULL_PLUS, STATIC),
    ("Is the mean as good as the cube?", "mean", INSTA_TH),
    ("Is the variance?", "variance", INSTA_TH),
    ("Is the skewness?", "skewness", INSTA_TH),
    ("Does the statistic need normalisation?", "raw", INSTA_TH),
    ("Is normalisation in front of the sign better?", "batch", INSTA_TH),
    ("Is the gradient through the statistic of use?", "stopped", INSTA_TH),
    ("Does the SE branch help?", "plus, 1/4, add", INSTA_TH),
    ("Does a smaller one?", "plus, 1/16, add", INSTA_TH),
    ("May it replace alpha?", "plus, 1/4, replace", "plus, 1/4, add"),
    ("May the smaller one?", "plus, 1/16, replace", "plus, 1/16, add"),
    ("Does INSTA-PReLU help?", FULL, INSTA_TH),
    ("Does zeta help?", "gamma, zeta", FULL),
    ("Do slope and zeta?", "gamma, slope, zeta", FULL),
    ("Are statistics of their own better for PReLUs?", "own", FULL),
    ("Do the largest maps need it?", "smaller maps", FULL),
    ("Does the statistic's bound do harm?", "unbounded", FULL),
    ("Is a tight bound better?", "bound 2", FULL),
    ("Does plus help the whole?", FULL_PLUS, FULL),
)

TOPOLOGIES = {
    "ResNet18": ("ReActNet18", "InstaResNet18", (8, 16, 32), [v.name for v in VARIANTS]),
    "MobileNetV1": (
        "ReActNetA",
        "InstaMobileNetV1",
        (8, 16, 32, 32, 64, 64),
        [STATIC, INSTA_TH, FULL, FULL_PLUS],
    ),
}


@dataclass(frozen=True)
class Cell:
    """One variant with one seed."""

    topology: str
    variant: str
    seed: int

    @property
    def name(self) -> str:
        variant = self.variant.replace(", ", "_").replace(" ", "_").replace("/", "")
        return f"{self.topology}/{variant}/seed{self.seed}"

    def settings(self, epochs: int) -> dict[str, Any]:
        """Arguments of a `larq_insta.training.configuration.Configuration`."""
        static, insta, filters, _ = TOPOLOGIES[self.topology]
        arguments = next(v for v in VARIANTS if v.name == self.variant).arguments
        settings = {} if arguments is None else {"insta_blocks": "all", **arguments}
        return {
            "model": static if arguments is None else insta,
            "dataset": "fashion_mnist",
            "model_arguments": {"filters": filters, **settings},
            "epochs": (epochs,),
            "batch_size": BATCH_SIZE,
            "learning_rate": (LEARNING_RATE,),
            "seed": self.seed,
        }


def cells(seeds: int) -> Iterator[Cell]:
    """All cells, seed after seed, so that whatever is finished can be compared in pairs."""
    for seed in range(seeds):
        for topology, (_, _, _, names) in TOPOLOGIES.items():
            for name in names:
                yield Cell(topology, name, seed)
