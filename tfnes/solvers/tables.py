"""Reading and writing tables `[row, column, batch]` inside `tf.while_loop`.

Under XLA a write is a dynamic update of a slice, done in place. Whole rows are written
by a public operation. Blocks take one of TensorFlow's internal module under XLA: the
public way, which writes the whole row, took 6 % more for Eisner at n = 25.
"""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

from tfnes.typing import Tensor

_FOLD = 32


def read(table: Tensor, row: Tensor, column: Tensor, size: Any) -> Tensor:
    """Returns the block `[*size]` of `table` that starts at (row, column, 0)."""
    return tf.slice(table, [row, column, 0], size)


def write(table: Tensor, value: Tensor, row: Any) -> Tensor:
    """Returns `table` `[R, ...]` with `table[row] = value`."""
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
    it, of values without NaN.

    Two passes, which compilers vectorize; `tf.argmax` compares pairs of value and
    index, one after the other, and is faster on short rows only. Rows of known length
    are folded first: the pieces may overlap, since neither pass minds repetitions.
    """
    size = values.shape[1]
    if size is not None and size <= _FOLD:
        index = tf.argmax(values, axis=1, output_type=tf.int32)
        return tf.reduce_max(values, axis=1), index
    best = tf.reduce_max(_fold(values, tf.maximum), axis=1)
    last = tf.shape(values)[1] - 1
    index = tf.where(values == best[:, None], tf.range(last + 1), last)
    return best, tf.reduce_min(_fold(index, tf.minimum), axis=1)


def _fold(values: Tensor, combine: Any) -> Tensor:
    """`[B, C]` to `[B, 32]` whose maximum or minimum over axis 1 is the same."""
    size = values.shape[1]
    if size is None:
        return values
    starts = [*range(0, size - _FOLD, _FOLD), size - _FOLD]
    return functools.reduce(combine, [values[:, s : s + _FOLD] for s in starts])


def pick(table: Tensor, column: Tensor) -> Tensor:
    """Returns `table[b, column[b]]` of `[B, C]` and `[B]`."""
    rows, columns = tf.shape(table)[0], tf.shape(table)[1]
    return tf.gather(tf.reshape(table, [-1]), tf.range(rows) * columns + column)


def _update_slice(table: Tensor, value: Tensor, start: Any) -> Tensor:
    # Not at the top: the module loads much that a program without XLA does not need.
    from tensorflow.compiler.tf2xla.python import xla

    return xla.dynamic_update_slice(table, value, tf.convert_to_tensor(start))
