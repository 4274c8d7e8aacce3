"""Batches of examples that lie in memory as arrays: one gather each, in the graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfnes.checks import check_integer
from tfnes.datasets.batching import cut_batches, plan_batches


def make_array_dataset(
    arrays: Mapping[str, np.ndarray],
    *,
    batch_size: int,
    shuffle: bool = False,
    seed: int = 0,
    epoch: int = 0,
    skip: int = 0,
    drop_remainder: bool = False,
    dtypes: Mapping[str, tf.DType] | None = None,
) -> tf.data.Dataset:
    """Returns batches with the rows of `arrays` and their number as `index`.

    The order is a pure function of (`seed`, `epoch`). B is static unless the last batch
    is smaller.

    Args:
      arrays: named arrays with N rows each.
      batch_size: B.
      shuffle: whether the order depends on `seed` and `epoch`.
      seed: integer.
      epoch: integer.
      skip: batches at the start that are left out (and never made).
      drop_remainder: whether a smaller last batch is left out.
      dtypes: of the batches, where it is not that of the arrays.

    Example:

        >>> import numpy as np
        >>> from tfnes.datasets.array_batches import make_array_dataset
        >>> data = make_array_dataset({"x": np.arange(5) * 10}, batch_size=2, skip=1)
        >>> [batch["x"].numpy().tolist() for batch in data]
        [[20, 30], [40]]
    """
    skip = check_integer("skip", skip, minimum=0)
    num_rows = len(next(iter(arrays.values())))
    plan = plan_batches(
        np.ones(num_rows, np.int32),
        batch_size=batch_size,
        batching="random",
        shuffle=shuffle,
        seed=seed,
        epoch=epoch,
        drop_remainder=drop_remainder,
    )
    full = bool((plan >= 0).all())
    counts = (plan >= 0).sum(axis=1).astype(np.int32)
    with tf.device("cpu"):
        tables = {name: tf.constant(array) for name, array in arrays.items()}
        batches = tf.data.Dataset.from_tensor_slices((plan[skip:], counts[skip:]))

    def cut(index, count):
        if not full:
            index = index[:count]
        batch = {name: tf.gather(table, index) for name, table in tables.items()}
        for name, dtype in (dtypes or {}).items():
            batch[name] = tf.cast(batch[name], dtype)
        return {**batch, "index": index}

    return cut_batches(batches, cut)


def permutation(size: int, *, seed: int) -> np.ndarray:
    """Returns a permutation of 0 ... size - 1, the same under every NumPy version."""
    bits = np.random.Philox(key=[int(seed) & (2**64 - 1), size])
    return np.argsort(bits.random_raw(size), kind="stable")
