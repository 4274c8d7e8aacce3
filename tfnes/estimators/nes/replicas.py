"""The population of one update over the replicas of a `tf.distribute` strategy.

Every replica sees the batch of all, and evaluates its share of the pairs. The pairs
are cut into a fixed number of shards, whatever the number of replicas; each shard is
summed alone, and the sums are added in the order of the shards. So the weights after
an update are the same, bit for bit, on one device, on several, and in several
processes, as long as the number of replicas divides the number of shards.
"""

from __future__ import annotations

import tensorflow as tf

from tfnes.errors import ConfigurationError
from tfnes.models import replication
from tfnes.typing import Batch, Tensor


class Replicas:
    """This replica's part in one update.

    Args:
      num_shards: number of shards of the population; a multiple of the replicas.
    """

    def __init__(self, *, num_shards: int):
        context = tf.distribute.get_replica_context()
        self._context = context
        self.count = context.num_replicas_in_sync
        if num_shards % self.count:
            raise ConfigurationError(
                "NES.num_shards must be a multiple of the number of replicas, "
                f"{self.count}. Received: {num_shards}. Use num_shards="
                f"{self.count * -(-num_shards // self.count)}."
            )
        self.num_shards = num_shards
        self.local = num_shards // self.count

    @property
    def first_shard(self) -> Tensor:
        """The first of this replica's `local` shards."""
        return tf.cast(self._context.replica_id_in_sync_group, tf.int32) * self.local

    def gather_batch(self, batch: Batch) -> Batch:
        """Returns the batch of all replicas."""
        return tf.nest.map_structure(replication.gather, batch)


def opaque(value: Tensor) -> Tensor:
    """Returns `value`, hidden from what rewrites the graph before it runs.

    Grappler moves constant factors through products and sums, and not in the same way
    in the graphs of one and of several replicas, which then differ in the last bits.
    """
    return tf.raw_ops.PlaceholderWithDefault(input=value, shape=value.shape)
