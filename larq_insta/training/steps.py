"""Trains a model on a data set and writes all that came of it to a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from larq_insta.checkpoints import keras_files, networks
from larq_insta.checkpoints.initial import InitialWeights
from larq_insta.checkpoints.networks import Network
from larq_insta.data.dataset import ImageDataset
from larq_insta.training import answers, diagnosis, distillation, distribution, resume, runs
from larq_insta.training.configuration import Configuration
from larq_insta.training.preparing import load_data
from larq_insta.training.progress import Progress
from larq_insta.training.runs import BEST, LAST, Result, opened, write_json
from larq_insta.training.trainer import NOT_FINITE, Trainer, trained_weights
from larq_insta.training.watching import TensorBoardLog, forget_epochs
from larq_insta.version import installed_versions
from larq_insta_runtime.card import Card
from larq_insta_runtime.errors import InputError

_WATCHED_PICTURES = 64


def train(
    configuration: Configuration, output: Path, say: Callable[[str], None] = lambda _: None
) -> Result:
    """Trains, and writes checkpoints, logs, configuration and result to `output`.

    Called again with the same arguments after any interruption, it goes on after the
    last whole epoch, and on one CPU ends with the very weights of an undisturbed run.

    # Arguments
        configuration: What to train and how.
        output: A new or empty folder, or one where the same training was interrupted.
        say: Called with each line that a waiting user would like to read.

    # Raises
        InputError: if the configuration cannot be carried out or `output` not be written.
    """
    configuration.check()
    network = networks.find(configuration.model)
    strategy = distribution.strategy()
    chief = distribution.is_chief(strategy)
    with opened(configuration, output, say, chief) as result:
        if result:
            return result
        tf.keras.utils.set_random_seed(configuration.seed)
        initial = InitialWeights.find(configuration.initial_weights)
        dataset = load_data(configuration, network, initial, say)
        run = _Run(configuration, output, strategy, chief, dataset, network, initial, say)
        run.prepare()
        folder = None
        for step in range(len(configuration.steps)):
            best, folder = run.step(step, folder)
        return run.finish(best)


@dataclass
class _Run:
    """One process's part in a training."""

    configuration: Configuration
    output: Path
    strategy: tf.distribute.Strategy
    chief: bool
    dataset: ImageDataset
    network: Network
    initial: InitialWeights | None
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        self.batch_size = min(self.configuration.batch_size, self.dataset.train.size)
        self.updates = self.dataset.train.size // self.batch_size
        self.teacher: distillation.Teacher | None = None
        self.new_head = self.network.has_new_head(len(self.dataset.class_names))
        self.seconds = 0.0

    def prepare(self) -> None:
        """What is done once, before the first step."""
        distribution.check_batch_size(self.strategy, self.batch_size)
        inputs = runs.inputs(self.configuration, self.dataset)
        runs.check_inputs(inputs, self.output, self.say)
        student = self._student(0)  # to refuse wrong arguments before anything is written
        if self.initial:
            self.new_head = self.initial.load_into(student)
            self.say(self.initial.remark(self.dataset.class_names, self.new_head))
        elif remark := self.network.remark(self.dataset.class_names):
            self.say(remark)
        if self.configuration.teacher:
            with self.strategy.scope():
                self.teacher = distillation.load_teacher(
                    self.configuration.teacher, self.dataset, self.configuration.foreign_input
                )
        if self.chief:
            runs.keep(self.configuration, inputs, self.output)

    def step(self, index: int, before: Path | None) -> tuple[dict[str, Any], Path]:
        """Trains one step, from the best checkpoint in the folder of the one before.

        # Returns
            The best epoch's logs, and the step's folder.
        """
        last = index == len(self.configuration.steps) - 1
        folder = self.output if last else self.output / f"step{index + 1}"
        with self.strategy.scope():
            student = self._student(index)
            if before is not None:
                keras_files.hand_over(keras_files.load(before / self._best), student)
            elif self.initial:
                self.initial.load_into(student)
            trainer = self._trainer(index, student)
        history = resume.History()
        states = resume.States(
            folder / "state", student, trainer.optimizer, history, chief=self.chief
        )
        done = states.restore(self.say)
        keeper = resume.Keeper(
            folder, self._card(index), states, student, self._copy(index, student), self.chief
        )
        keeper.publish()
        self._announce(index, student, done)
        if done < self.configuration.epochs[index]:
            with self.dataset.naming_unreadable():
                self._fit(trainer, index, done, keeper)
        distribution.wait_for_all(self.strategy)  # else some look for what is not written yet
        self.seconds += sum(row["seconds"] for row in history.rows)
        return answers.best_epoch(history, folder), folder

    def finish(self, row: dict[str, Any]) -> Result:
        """Tests the best checkpoint, once; `row` is its logs."""
        best = self.output / self._best
        with self.dataset.naming_unreadable():
            accuracy = answers.test_accuracy(keras_files.load(best), self.dataset)
        result = Result(
            str(best), accuracy, row.get("val_accuracy"), row["epoch"], round(self.seconds, 1)
        )
        if self.chief:
            write_json(self.output / "result.json", asdict(result) | {"checkpoint": best.name})
        return result

    @property
    def _best(self) -> str:
        return BEST if self.dataset.validation.size else LAST

    def _arguments(self, index: int) -> dict[str, Any]:
        form = self.configuration.steps[index]
        binary = {} if form == "both" else {"binary": form}
        given = None if self.network.has_layers else self.initial
        initial = given.arguments if given else {}
        return {**initial, **self.configuration.model_arguments, **binary}

    def _student(self, index: int) -> tf.keras.Model:
        classes = len(self.dataset.class_names)
        return self.network.build(self.dataset.input_shape, classes, self._arguments(index))

    def _copy(self, index: int, student: tf.keras.Model) -> tf.keras.Model:
        """What files are written of: the student, but for weights that replicas hold apart."""
        return student if self.strategy.num_replicas_in_sync == 1 else self._student(index)

    def _trainer(self, index: int, student: tf.keras.Model) -> Trainer:
        configuration = self.configuration
        if self.strategy.num_replicas_in_sync > 1:
            distribution.synchronize_batch_norm(student)
        trainer = Trainer(
            student,
            self.dataset.normalize,
            configuration.weight_decay[index],
            self._distillation(student),
            trained_weights(student, configuration.trainable[index], self.new_head),
        )
        decay = tf.keras.optimizers.schedules.PolynomialDecay(
            configuration.learning_rate[index],
            self.updates * configuration.epochs[index],
            end_learning_rate=0.0,
        )
        trainer.compile(tf.keras.optimizers.Adam(decay))
        trainer.optimizer.build(trainer.trained)
        return trainer

    def _distillation(self, student: tf.keras.Model) -> distillation.Distillation | None:
        configuration = self.configuration
        if self.teacher is None:
            return None
        weight = configuration.attention_weight
        return distillation.Distillation(
            self.teacher,
            configuration.temperature,
            configuration.hard_label_share,
            weight,
            distillation.attention_taps(student, self.teacher.network) if weight else (),
        )

    def _card(self, index: int) -> Card:
        recipe = self.configuration.identity()
        for name in ("model", "model_arguments", "dataset", "image_size"):
            del recipe[name]
        return Card(
            model=self.network.title,
            model_arguments=self._arguments(index),
            dataset=self.configuration.dataset,
            class_names=self.dataset.class_names,
            preprocessing=self.dataset.preprocessing,
            training=recipe | {"augmentation": self.dataset.augmentation.kind, "step": index + 1},
            versions=installed_versions(),
        )

    def _announce(self, index: int, student: tf.keras.Model, done: int) -> None:
        configuration, steps = self.configuration, len(self.configuration.steps)
        step = f"step {index + 1} of {steps} ({configuration.steps[index]} binary), "
        progress = f"; going on after epoch {done}" if done else ""
        self.say(
            f"Training {self.network.title} ({student.count_params():,} parameters) on "
            f"{self.dataset.train.size:,} pictures of {self.dataset.name}: "
            f"{step if steps > 1 else ''}{configuration.epochs[index]} epochs of {self.updates} "
            f"updates{progress}."
        )

    def _fit(self, trainer: Trainer, index: int, done: int, keeper: resume.Keeper) -> None:
        later = sum(self.configuration.epochs[index + 1 :]) * self.updates
        batches = distribution.training_batches(
            self.strategy,
            self.dataset,
            self.batch_size,
            self.configuration.seed,
            self._epochs(index, done),
        )
        try:
            with Progress(self.say, later) as progress:
                trainer.fit(
                    batches,
                    initial_epoch=done,
                    epochs=self.configuration.epochs[index],
                    steps_per_epoch=self.updates,
                    validation_data=distribution.validation_batches(self.dataset),
                    callbacks=self._callbacks(done, keeper, progress),
                    verbose=0,
                )
        except tf.errors.InvalidArgumentError as error:
            if NOT_FINITE not in str(error):
                raise
            raise InputError(self._not_finite(trainer, index, keeper)) from error

    def _epochs(self, index: int, done: int) -> range:
        """The epochs left of a step, numbered through all steps, as no two share an order."""
        before = sum(self.configuration.epochs[:index])
        return range(before + done, before + self.configuration.epochs[index])

    def _callbacks(
        self, done: int, keeper: resume.Keeper, progress: Progress
    ) -> list[tf.keras.callbacks.Callback]:
        # Logs before the state: what was logged after it would be lost by a kill in between.
        if not self.chief:
            return [keeper.copier, keeper]
        folder = keeper.folder / "tensorboard"
        forget_epochs(folder, done)
        dataset = self.dataset.uncached or self.dataset  # a cache is filled by reading it all
        split = dataset.validation if dataset.validation.size else dataset.train
        pictures = next(iter(dataset.pictures(split, _WATCHED_PICTURES)))[0]
        watched = self.dataset.normalize(pictures).numpy()
        check = tf.keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: self._check_output())
        remarks = answers.Remarks(keeper.copy, dataset, self.say)
        log = TensorBoardLog(folder, watched, keeper.copy)
        return [progress, keeper.copier, check, remarks, log, keeper]

    def _check_output(self) -> None:
        # Else it would be made anew, without what is needed to go on.
        if not (self.output / "config.json").is_file():
            raise InputError(
                f"The output folder must stay while a training runs; {self.output} was moved or "
                "removed: put it back and run the same command again."
            )

    def _not_finite(self, trainer: Trainer, index: int, keeper: resume.Keeper) -> str:
        update = int(trainer.optimizer.iterations.numpy())
        epoch, position = divmod(update, self.updates)
        batches = (self.dataset.uncached or self.dataset).training_batches(
            self.batch_size, self.configuration.seed, self._epochs(index, epoch)
        )
        pictures, labels = next(iter(batches.skip(position)))

        def loss(probabilities: tf.Tensor) -> tf.Tensor:
            return tf.reduce_mean(
                tf.keras.losses.sparse_categorical_crossentropy(labels, probabilities)
            )

        where = diagnosis.first_non_finite(trainer.student, trainer.normalize(pictures), loss)
        if self.teacher is not None and not self.teacher.is_finite(pictures):
            where = "an answer of the teacher (choose another)"
        kept = f"{keeper.folder / LAST} of epoch {epoch}" if epoch else "none"
        return (
            f"Training must stay finite; at update {update + 1} (epoch {epoch + 1}) the first "
            f"value that is not is {where}. Last good checkpoint: {kept}. Lower the learning rate "
            f"(it was {self.configuration.learning_rate[index]}) and use another output folder."
        )
