"""How far one update of Adam moves a network by INSTA-BNN+'s branch, and how far by alpha.

    python studies/plus/movement.py --imagenette IMAGENETTE

Of networks of the setting "photographs" in `study.py`, while they are trained. Thresholds: root of
the mean square over 256 held-out pictures and all channels, of what one update changes with the
statistics held fixed. Answers: the same of logits, if alphas alone are updated, or the branches
alone. Each is a mean over ten updates in a row.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # what studies share

from cells import use_one_thread
from study import BASE, SETTINGS, VARIANTS, Cell

SETTING = SETTINGS["photographs"]
UPDATES = 10
PARTS = ("alpha", "branch")


def belongs(part: str, weight: Any) -> bool:
    """Whether a weight of a threshold is one of alpha's, or of the branch's."""
    return part in weight.name and "threshold" in weight.name


class Network:
    """One that is trained, and can be asked what each update moves.

    # Arguments
        variant: One of `study.VARIANTS` with a branch.
        filters: Widths of the stages.
        ratio: Of channels to hidden units.
    """

    def __init__(self, variant: str, filters: tuple[int, ...], ratio: int, seed: int) -> None:
        import tensorflow as tf

        from larq_insta import InstaThreshold, models

        tf.keras.utils.set_random_seed(seed)
        settings = Cell("photographs", variant, seed).settings()["model_arguments"]
        threshold = settings["threshold"] | {"reduction_ratio": ratio}
        size = (SETTING.image_size, SETTING.image_size, 3)
        arguments = settings | {"filters": filters, "threshold": threshold}
        self.model = models.InstaResNet18(input_shape=size, num_classes=10, **arguments)
        self.model.compile(
            tf.keras.optimizers.Adam(SETTING.learning_rate),
            "sparse_categorical_crossentropy",
            jit_compile=True,
        )
        self.thresholds = [x for x in self.model.layers if isinstance(x, InstaThreshold)]
        inputs = [x.input for x in self.thresholds]
        self._maps = tf.keras.Model(self.model.input, inputs)
        self._logits = tf.keras.Model(self.model.input, self.model.get_layer("head_logits").output)

    def moved(self, pictures: np.ndarray, batch: tuple[np.ndarray, np.ndarray]) -> list[float]:
        """Thresholds by alpha and by the branch, then logits by alpha and by the branch."""
        maps = self._maps(pictures)
        statistics = [x.instance_statistic(m) for x, m in zip(self.thresholds, maps, strict=True)]
        before, weights = self._parts(statistics), self.model.get_weights()
        logits = self._logits(pictures).numpy()
        self.model.train_on_batch(*batch)
        after, updated = self._parts(statistics), self.model.get_weights()
        found = [root_mean_square(b - a) for a, b in zip(before, after, strict=True)]
        for part in PARTS:
            mixed = [
                new if belongs(part, weight) else old
                for weight, new, old in zip(self.model.weights, updated, weights, strict=True)
            ]
            self.model.set_weights(mixed)
            found.append(root_mean_square(self._logits(pictures).numpy() - logits))
        self.model.set_weights(updated)
        return found

    def _parts(self, statistics: list[Any]) -> list[np.ndarray]:
        """All thresholds by alpha, and by the branch."""
        pairs = list(zip(self.thresholds, statistics, strict=True))
        alphas = [(layer.alpha * s).numpy() for layer, s in pairs]
        branches = [layer.branch(s).numpy() for layer, s in pairs]
        return [np.concatenate(x, axis=-1) for x in (alphas, branches)]


def root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values.astype(np.float64) ** 2)))


def table(
    images: np.ndarray,
    labels: np.ndarray,
    pictures: np.ndarray,
    filters: tuple[int, ...],
    ratio: int,
    at: tuple[int, ...],
    seed: int,
) -> Iterator[str]:
    """Lines of a table, for each form of the branch and each number of updates."""
    yield "| variant | updates | thresholds, branch / alpha | logits, branch / alpha |"
    yield "|---|--:|--:|--:|"
    for variant in VARIANTS:
        if variant == BASE:
            continue
        network, done = Network(variant, filters, ratio, seed), 0
        order = np.random.default_rng(seed).permutation(len(images) // 64 * 64).reshape(-1, 64)
        for updates in at:
            found = []
            while done < updates + UPDATES:
                chosen = order[done % len(order)]
                batch = images[chosen], labels[chosen]
                if done < updates:
                    network.model.train_on_batch(*batch)
                else:
                    found.append(network.moved(pictures, batch))
                done += 1
            alpha, branch, logits_alpha, logits_branch = np.mean(found, axis=0)
            ratios = f"{branch / alpha:.2f} | {logits_branch / logits_alpha:.2f}"
            yield f"| {variant} | {updates} | {ratios} |"


@click.command(help=__doc__)
@click.option("--imagenette", required=True, help="Folder of Imagenette.")
@click.option("--filters", default="16,32,64", show_default=True)
@click.option("--ratio", default=SETTING.ratio, show_default=True)
@click.option("--updates", default="100,1000", show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(imagenette: str, filters: str, ratio: int, updates: str, seed: int) -> None:
    use_one_thread()
    from larq_insta import data

    dataset = data.load(imagenette, image_size=SETTING.image_size)
    batches = dataset.pictures(dataset.train, dataset.train.size)
    images, labels = (np.asarray(part) for part in next(iter(batches)))
    held_out, _ = next(iter(dataset.pictures(dataset.validation, 256)))
    widths, at = (tuple(map(int, value.split(","))) for value in (filters, updates))
    normal = dataset.preprocessing.normalize
    lines = table(normal(images), labels, normal(np.asarray(held_out)), widths, ratio, at, seed)
    for line in lines:
        click.echo(line)


if __name__ == "__main__":
    main()
