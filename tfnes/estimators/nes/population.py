"""The loop over the mirrored pairs of one update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfnes.estimators.nes.replicas import Replicas
from tfnes.models import replication
from tfnes.typing import Tensor

PairFunction = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""`(pair, total) -> (losses of the pair, total with its share added)`."""


class Population:
    """Runs a function over all pairs: shard by shard, one pair at a time.

    This is the loop of Algorithm 1 and its sum over i, two terms of it a turn; what a
    pair adds is the function's. Pair p belongs to shard p mod S. Every shard adds up
    from zero, and the shards' totals are added in order, so that the sum does not
    depend on who forms them.

    Args:
      num_pairs: pairs of the whole population.
      replicas: says which shards are this replica's.
    """

    def __init__(self, num_pairs: int, *, replicas: Replicas):
        self._num_pairs = num_pairs
        self._replicas = replicas
        self._shards = replicas.num_shards
        self._rows = -(-num_pairs // self._shards)

    def run(self, function: PairFunction, *, like: Any) -> tuple[Tensor, Any]:
        """Calls `function` once for every pair.

        Args:
          function: see `PairFunction`.
          like: a nest of tensors of the shapes and dtypes of the total.

        Returns:
          The losses, `[pairs, 2]` float32, and the total over all pairs.
        """
        if self._replicas.count == 1:
            losses, total = self._sum_in_turn(function, like)
        else:
            losses, total = self._sum_replicas(function, like)
        # [shard, row, 2] to [pair, 2], pair = row * S + shard.
        losses = tf.reshape(tf.transpose(losses, [1, 0, 2]), [-1, 2])
        return losses[: self._num_pairs], total

    def _one_shard(self, function: PairFunction, like: Any, shard: Tensor):
        def body(row, losses, total):
            values, total = function(row * self._shards + shard, total)
            return row + 1, losses.write(row, values), total

        # Rounded down: shards past the last pair have one row less.
        rows = (self._num_pairs - shard + self._shards - 1) // self._shards
        losses = tf.TensorArray(tf.float32, self._rows, element_shape=[2])
        _, losses, total = tf.while_loop(
            lambda row, *_: row < rows,
            body,
            (tf.constant(0), losses, _zeros(like)),
            parallel_iterations=1,
        )
        return losses.stack(), total

    def _sum_in_turn(self, function: PairFunction, like: Any):
        def body(shard, losses, total):
            values, more = self._one_shard(function, like, shard)
            return shard + 1, losses.write(shard, values), _add(total, more)

        losses = tf.TensorArray(tf.float32, self._shards, element_shape=[self._rows, 2])
        _, losses, total = tf.while_loop(
            lambda shard, *_: shard < self._shards,
            body,
            (tf.constant(0), losses, _zeros(like)),
            parallel_iterations=1,
        )
        return losses.stack(), total

    def _sum_replicas(self, function: PairFunction, like: Any):
        losses, totals = tf.map_fn(
            lambda shard: self._one_shard(function, like, shard),
            self._replicas.first_shard + tf.range(self._replicas.local),
            fn_output_signature=(
                tf.float32,
                tf.nest.map_structure(lambda value: value.dtype, like),
            ),
            parallel_iterations=1,
        )
        losses = replication.gather(losses)
        totals = tf.nest.map_structure(replication.gather, totals)
        # In a loop, as on one device: a chain of sums would be rewritten as one sum of
        # many terms, whose order is another.
        total = tf.foldl(_add, totals, initializer=_zeros(like), parallel_iterations=1)
        return losses, total


def _zeros(like: Any) -> Any:
    return tf.nest.map_structure(tf.zeros_like, like)


def _add(total: Any, more: Any) -> Any:
    return tf.nest.map_structure(tf.add, total, more)
