"""One training on all devices of a machine or of many machines."""

from __future__ import annotations

import json
import os

import tensorflow as tf

from larq_insta.data.dataset import ImageDataset
from larq_insta_runtime.errors import InputError, first_line


def strategy() -> tf.distribute.Strategy:
    """Many machines if `TF_CONFIG` names them, else all GPUs of this one, else its CPU.

    Must be called before anything is computed.

    # Raises
        InputError: if `TF_CONFIG` is damaged.
    """
    if os.environ.get("TF_CONFIG"):
        try:
            config = json.loads(os.environ["TF_CONFIG"])
            # TensorFlow takes anything without these for a single machine.
            config["cluster"]["worker"][0], config["task"]["type"], config["task"]["index"]
            return tf.distribute.MultiWorkerMirroredStrategy()
        except (ValueError, LookupError, RuntimeError, AttributeError, TypeError) as error:
            raise InputError(
                "TF_CONFIG must be JSON with the workers' addresses and this one's index "
                f"({first_line(error)}); got {os.environ['TF_CONFIG']!r}: see the README."
            ) from error
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes results."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    return resolver.task_type == "chief" or (
        resolver.task_type == "worker"
        and resolver.task_id == 0
        and not resolver.cluster_spec().as_dict().get("chief")
    )


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Returns when all workers have called it."""
    if strategy.num_replicas_in_sync > 1:
        ones = strategy.run(lambda: tf.constant(1.0))
        strategy.reduce(tf.distribute.ReduceOp.SUM, ones, axis=None)


def training_batches(
    strategy: tf.distribute.Strategy,
    dataset: ImageDataset,
    batch_size: int,
    seed: int,
    epochs: range,
) -> tf.distribute.DistributedDataset:
    """Every replica's share of the batches of `batch_size` pictures."""

    def share(context: tf.distribute.InputContext) -> tf.data.Dataset:
        shards = context.num_input_pipelines
        batches = dataset.training_batches(
            batch_size // shards, seed, epochs, shards=shards, shard=context.input_pipeline_id
        )
        replica = context.get_per_replica_batch_size(batch_size)
        return batches if replica * shards == batch_size else batches.rebatch(replica)

    return strategy.distribute_datasets_from_function(share)


def validation_batches(dataset: ImageDataset) -> tf.data.Dataset | None:
    """Batches to be shared out picture by picture, not file by file."""
    if not dataset.validation.size:
        return None
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return dataset.pictures(dataset.validation).with_options(options)


def check_batch_size(strategy: tf.distribute.Strategy, batch_size: int) -> None:
    """Whether a batch can be shared out.

    # Raises
        InputError: if not.
    """
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise InputError(
            f"The batch size must be a multiple of the {replicas} devices that share it; got "
            f"{batch_size}: take {max(1, batch_size // replicas) * replicas}."
        )


def synchronize_batch_norm(model: tf.keras.Model) -> None:
    """Makes batch normalisation, in nested layers too, use the moments of all replicas."""
    for layer in model.submodules:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.synchronized = True
            layer.fused = False  # the fused kernel sees one replica only
