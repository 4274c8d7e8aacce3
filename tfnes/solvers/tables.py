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


def first_argmax(values: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the maximum over axis 0 and the first index that reaches it.

    Two passes of plain reductions, which vectorize over the last axis; `tf.argmax` over
    an axis that is not the last one does not. The index of a NaN is the last one.
    """
    best = tf.reduce_max(values, axis=0)
    last = tf.shape(values)[0] - 1
    index = tf.range(last + 1)[:, None, None]
    return best, tf.reduce_min(tf.where(values == best, index, last), axis=0)


def first_argmax_minor(values: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the maximum over the last of two axes and the first index that reaches
    it.

    The reductions are of integers that are ordered as the floats are: compilers
    vectorize them, while a maximum of floats must be taken in order.
    """
    integer = tf.int32 if values.dtype == tf.float32 else tf.int64
    keys = _flip_negative(tf.bitcast(values, integer))
    best = tf.reduce_max(keys, axis=1)
    last = tf.shape(values)[1] - 1
    index = tf.where(keys == best[:, None], tf.range(last + 1), last)
    best = tf.bitcast(_flip_negative(best), values.dtype)
    return best, tf.reduce_min(index, axis=1)


def pick(table: Tensor, column: Tensor) -> Tensor:
    """Returns `table[b, column[b]]` of `[B, C]` and `[B]`."""
    rows, columns = tf.shape(table)[0], tf.shape(table)[1]
    return tf.gather(tf.reshape(table, [-1]), tf.range(rows) * columns + column)


def _flip_negative(bits: Tensor) -> Tensor:
    """Maps the bits of floats to integers of the same order; its own inverse."""
    dtype = bits.dtype
    sign = tf.bitwise.right_shift(bits, tf.constant(dtype.size * 8 - 1, dtype))
    mask = tf.bitwise.bitwise_and(sign, tf.constant(dtype.max, dtype))
    return tf.bitwise.bitwise_xor(bits, mask)


def _update_slice(table: Tensor, value: Tensor, start: Any) -> Tensor:
    # Not at the top: the module loads much that a program without XLA does not need.
    from tensorflow.compiler.tf2xla.python import xla

    return xla.dynamic_update_slice(table, value, tf.convert_to_tensor(start))
