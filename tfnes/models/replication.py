"""Values across the replicas of a `tf.distribute` strategy."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfnes.typing import Batch, Tensor


def num_replicas() -> int:
    """Returns the number of replicas in sync; 1 without a strategy."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def gather(value: Tensor) -> Tensor:
    """Returns the values of all replicas, joined along axis 0 in their order.

    Args:
      value: of this replica; its extent along axis 0 may differ among replicas.
    """
    if num_replicas() == 1:
        return value
    context = tf.distribute.get_replica_context()
    # Collectives of several workers take the destination from the tensor's device,
    # which an argument of a function does not have.
    if value.dtype == tf.bool:
        numbers = tf.cast(value, tf.int32)
        gathered = tf.cast(context.all_gather(numbers, axis=0), tf.bool)
    else:
        gathered = context.all_gather(tf.identity(value), axis=0)
    # Gathering forgets the static shape; models may need all but the first axis.
    if value.shape.rank:
        gathered.set_shape([None, *value.shape[1:]])
    return gathered


def sum_in_order(values: Sequence[Tensor]) -> list[Tensor]:
    """Returns each value summed over replicas, always in the same order."""
    return [tf.reduce_sum(gather(value[None]), axis=0) for value in values]


def positions(size: Tensor) -> Tensor:
    """Returns where this replica's `size` examples are in the batch of all replicas."""
    if num_replicas() == 1:
        return tf.range(size)
    sizes = gather(size[None])
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    return tf.reduce_sum(sizes[:replica]) + tf.range(size)


def with_index(batch: Batch) -> Batch:
    """Gives the examples of several replicas the positions of the whole batch.

    Where `index` says already which example is which, or on one replica, the batch
    stays as it is.
    """
    if num_replicas() == 1 or not isinstance(batch, dict) or "index" in batch:
        return batch
    size = tf.shape(tf.nest.flatten(batch)[0])[0]
    return {**batch, "index": positions(size)}


def shape_logs(results: dict[str, Tensor]) -> dict[str, Tensor]:
    """Shapes a step's results as Keras reduces them over replicas."""
    strategy = tf.distribute.get_strategy()
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return {name: tf.reshape(value, [1]) for name, value in results.items()}
    return results
