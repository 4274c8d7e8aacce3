"""Reading and writing tables `[row, column, batch]` inside `tf.while_loop`.

Under XLA a write is a dynamic update of a slice, done in place.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfnes.typing import Tensor


def read(table: Tensor, row: Tensor, column: Tensor, size: Any) -> Tensor:
    """Returns the block `[*size]` of `table` that starts at (row, column, 0)."""
    return tf.slice(table, [row, column, 0], size)


def write(table: Tensor, value: Tensor, row: Any, *, jit: bool) -> Tensor:
    """Returns `table` `[R, ...]` with `table[row] = value`."""
    if jit:
        start = tf.one_hot(0, table.shape.rank, row, 0, dtype=tf.int32)
        return _update_slice(table, value[None], start)
    return tf.tensor_scatter_nd_update(table, [[row]], value[None])


def write_block(
    table: Tensor, value: Tensor, row: Any, column: Any, *, jit: bool
) -> Tensor:
    """Returns `table` `[R, C, B]` with `table[row, column : column + c] = value`."""
    if jit:
        return _update_slice(table, value[None], [row, column, 0])
    columns = column + tf.range(tf.shape(value)[0])
    cells = tf.stack([tf.fill(tf.shape(columns), row), columns], axis=-1)
    return tf.tensor_scatter_nd_update(table, cells, value)


def write_flat(table: Tensor, value: Tensor, offset: Tensor, *, jit: bool) -> Tensor:
    """Returns the vector `table` with the entries of `value` from `offset` on."""
    value = tf.reshape(value, [-1])
    if jit:
        return _update_slice(table, value, offset[None])
    width = tf.size(value)
    rows = tf.reshape(table, [-1, width])
    rows = tf.tensor_scatter_nd_update(rows, [[offset // width]], value[None])
    return tf.reshape(rows, [-1])


def first_argmax(values: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the maximum over axis 0 and the first index that reaches it.

    Two passes of plain reductions, which vectorize over the last axis; `tf.argmax` over
    an axis that is not the last one does not. The index of a NaN is the last one.
    """
    best = tf.reduce_max(values, axis=0)
    last = tf.shape(values)[0] - 1
    index = tf.range(last + 1)[:, None, None]
    return best, tf.reduce_min(tf.where(values == best, index, last), axis=0)


def _update_slice(table: Tensor, value: Tensor, start: Any) -> Tensor:
    # Not at the top: the module loads much that a program without XLA does not need.
    from tensorflow.compiler.tf2xla.python import xla

    return xla.dynamic_update_slice(table, value, tf.convert_to_tensor(start))
