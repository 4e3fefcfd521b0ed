"""The paper's two guidelines, selective application and reuse of statistics: cost and accuracy.

    python benchmarks/guidelines.py FOLDER --manual-dir /usr/share/datasets/fashion-mnist

For the static baseline and each combination it prints parameters, operations, the size of the
`.tflite` file, the latency in Larq Compute Engine's interpreter on this machine, all of the full
model at 224 pixels, and the test accuracy of narrow models after a short training on
Fashion-MNIST, mean and standard deviation over seeds. Latencies are of one thread in one
process, models taking turns; alphas are random, as zeros would be folded away. Trainings lie in
FOLDER; called again it goes on, and trains nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from intervals import median_interval
from watches import LarqStopwatch, take_turns

MODELS = {
    "ResNet18": ("ReActNet18", "InstaResNet18", (8, 16, 32)),
    "MobileNetV1": ("ReActNetA", "InstaMobileNetV1", (8, 16, 32, 32, 64, 64)),
}
STATIC = "static"
EVERYWHERE = "all, own statistics"


class Cost(NamedTuple):
    """Of a full model: its parameters, operations, and the content of its `.tflite` file."""

    parameters: int
    ops: float
    content: bytes


def settings(topology: str, plus: bool) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Names, models and arguments."""
    static, insta, _ = MODELS[topology]
    yield STATIC, static, {}
    for blocks in ("all", "all_but_largest_maps"):
        for reuse in (False, True):
            name = f"{blocks}, {'reused' if reuse else 'own'} statistics"
            arguments = {"insta_blocks": blocks, "reuse_statistics": reuse}
            yield name, insta, arguments | ({"plus": True} if plus else {})


def cost(name: str, arguments: dict[str, Any], size: int) -> Cost:
    from larq_insta import models, profile
    from larq_insta.conversion import lowering

    model = models.get(name)(input_shape=(size, size, 3), **arguments)
    content = lowering.lower_as_trained(model)
    return Cost(model.count_params(), profile(model).total.ops, content)


def accuracies(
    folder: Path, model: str, arguments: dict[str, Any], seeds: int, **configuration: Any
) -> list[float]:
    """Test accuracies of the seeds."""
    from larq_insta import training
    from larq_insta.training.configuration import Configuration

    return [
        training.train(
            Configuration(
                model=model,
                dataset="fashion_mnist",
                model_arguments=arguments,
                batch_size=128,
                seed=seed,
                **configuration,
            ),
            folder / f"seed{seed}",
            click.echo,
        ).test_accuracy
        for seed in range(seeds)
    ]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--topology", type=click.Choice(list(MODELS)), default="ResNet18")
@click.option("--plus", is_flag=True, help="INSTA-Th+ instead of INSTA-Th.")
@click.option("--image-size", default=224, show_default=True, help="Of the full models.")
@click.option("--turns", default=200, show_default=True, help="Of the latency.")
@click.option("--seeds", default=3, show_default=True, help="0 trains nothing.")
@click.option("--epochs", default=3, show_default=True)
@click.option("--data-dir")
@click.option("--manual-dir")
def main(
    folder: Path,
    topology: str,
    plus: bool,
    image_size: int,
    turns: int,
    seeds: int,
    epochs: int,
    data_dir: str | None,
    manual_dir: str | None,
) -> None:
    """Compares selections of blocks, with and without reuse."""
    cells = {name: (model, arguments) for name, model, arguments in settings(topology, plus)}
    costs = {name: cost(*cell, image_size) for name, cell in cells.items()}
    watches = {name: LarqStopwatch(known.content) for name, known in costs.items()}
    seconds = take_turns(watches, turns)
    scores = {}
    for name, (model, arguments) in cells.items():
        scores[name] = accuracies(
            folder
            / f"{model}{'_plus' if plus else ''}"
            / name.replace(", ", "_").replace(" ", "_"),
            model,
            {**arguments, "filters": list(MODELS[topology][2])},
            seeds,
            epochs=(epochs,),
            data_dir=data_dir,
            manual_dir=manual_dir,
        )
    click.echo("| setting | parameters | OPs | file | latency, ratio | test accuracy |")
    click.echo("|---|---|---|---|---|---|")
    for name, c in costs.items():
        ratio = median_interval(seconds[name] / seconds[STATIC])
        mean = (
            f"{np.mean(scores[name]):.2%} ± {np.std(scores[name], ddof=1):.2%}"
            if seeds > 1
            else "-"
        )
        click.echo(
            f"| {name} | {c.parameters:,} | {c.ops / 1e8:.4f}e8 | {len(c.content) / 1e6:.3f} MB "
            f"| {ratio} | {mean} |"
        )
    for name, values in scores.items():
        click.echo(f"{name}: {', '.join(f'{value:.2%}' for value in values)}")
    added = {name: np.median(values / seconds[STATIC]) - 1 for name, values in seconds.items()}
    click.echo(
        f"{np.median(seconds[STATIC]) * 1e3:.1f} ms for {STATIC}; added, as a share of what "
        f"'{EVERYWHERE}' adds: "
        + ", ".join(f"{name} {value / added[EVERYWHERE]:.2f}" for name, value in added.items())
    )


if __name__ == "__main__":
    main()
