"""Reading and writing tables `[row, column, batch]` inside `tf.while_loop`.

Under XLA a write is a dynamic update of a slice, done in place. TensorFlow's public
operations do that for whole rows only, so a block is written with the rest of its row.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
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
    table: Tensor, value: Tensor, row: Any, column: Any, *, outside: float, jit: bool
) -> Tensor:
    """Returns `table` `[R, C, B]` with `table[row, column : column + c] = value`.

    Args:
      table: `[R, C, B]`.
      value: `[c, B]`.
      row: scalar.
      column: scalar, an int if it is known.
      outside: what the row holds, or may hold, beside the value: under XLA all of the
        row is written.
      jit: whether this is for XLA.
    """
    size = tf.shape(value)[0]
    if not jit:
        columns = column + tf.range(size)
        cells = tf.stack([tf.fill(tf.shape(columns), row), columns], axis=-1)
        return tf.tensor_scatter_nd_update(table, cells, value)
    columns = tf.shape(table)[1]
    if isinstance(column, int):
        after = columns - column - size
        pad = [[column, after], [0, 0]]
        return write(table, tf.pad(value, pad, constant_values=outside), row)
    # A window of the row's size on a wider row, moved by as much as the value is.
    pad = [[columns, columns - size], [0, 0]]
    wide = tf.pad(value, pad, constant_values=outside)
    window = tf.slice(wide, [columns - column, 0], [columns, tf.shape(value)[1]])
    return write(table, window, row)


def sweep_widths(
    visit: Callable[..., Any],
    tables: Any,
    *,
    blocks: int,
    upwards: bool = True,
    jit: bool,
) -> Any:
    """Visits all widths 1 ... N - 1 of the spans of N nodes; returns the tables.

    In blocks of widths, each a loop whose slices have one size: under XLA sizes are
    fixed, so those of the block's widest span and of its most spans.

    Args:
      visit: `visit(tables, width, starts, splits)` returns the tables with the spans of
        one width; `starts` positions and `splits` splits are at least as many as there
        are, and without XLA exactly as many.
      tables: a named tuple of tables `[R, C, B]`; the first has N rows.
      blocks: how many blocks.
      upwards: whether the narrowest spans come first, or the widest.
      jit: whether this is for XLA.
    """
    nodes = tf.shape(tables[0])[0]
    shapes = type(tables)(*[tf.TensorShape([None, None, None])] * len(tables))
    for block in range(blocks) if upwards else reversed(range(blocks)):
        first = (nodes - 1) * block // blocks + 1
        last = (nodes - 1) * (block + 1) // blocks

        def body(width: Tensor, tables: Any, block: int = block) -> Any:
            # Sizes are formed here from shapes: XLA must see them as constants.
            nodes = tf.shape(tables[0])[0]
            starts = nodes - 1 - (nodes - 1) * block // blocks
            splits = (nodes - 1) * (block + 1) // blocks
            if not jit:
                starts, splits = nodes - width, width
            return width + (1 if upwards else -1), visit(tables, width, starts, splits)

        def more(width: Tensor, _: Any, first: Any = first, last: Any = last) -> Any:
            return width <= last if upwards else width >= first

        _, tables = tf.while_loop(
            more,
            body,
            (first if upwards else last, tables),
            shape_invariants=(tf.TensorShape([]), shapes),
            parallel_iterations=1,
        )
    return tables


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
