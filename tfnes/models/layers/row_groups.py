"""A loop over groups of rows, each trimmed to its own length.

Parts of a tree are (head, modifier) pairs: a batch padded to its longest sentence costs
the square of that one. The rows of a batch come sorted by length, so neighbors are
cut into groups of one trimmed length each. The shape of a group is a function of its
trimmed length (a multiple of 8) alone: XLA compiles once for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tfnes.solvers import batching
from tfnes.typing import Tensor

MULTIPLE = 8
_MAX_ROWS = 32
_MAX_CELLS = 32 * 33 * 33


def group_rows(size: Tensor, batch: Tensor) -> Tensor:
    """Returns how many rows a group of sentences of at most `size` words has.

    The largest power of two, at most 32 and less than twice `batch`, with rows *
    (size + 1)^2 cells below a bound that keeps a group's tables in cache.
    """
    rows = tf.constant(1)
    cells = tf.square(size + 1)
    for power in (2, 4, 8, 16, 32):
        fits = (power * cells <= _MAX_CELLS) & (power < 2 * batch)
        rows = tf.where(fits, power, rows)
    return rows


class RowGroup(NamedTuple):
    """One group of neighboring rows; all fields are `[]` int32.

    Attributes:
      number: 0, 1, ...
      start: the first row.
      rows: how many rows; the last group may reach past the end of the batch.
      size: the length it is trimmed to, at least the length of each of its rows.
    """

    number: Tensor
    start: Tensor
    rows: Tensor
    size: Tensor

    def take(self, tensor: Tensor) -> Tensor:
        """Returns the group's rows of `tensor`, 0 past the end of the batch."""
        part = tensor[self.start : self.start + self.rows]
        missing = self.rows - tf.shape(part)[0]
        return tf.pad(part, [[0, missing]] + [[0, 0]] * (tensor.shape.rank - 1))


def map_row_groups(
    function: Callable[[RowGroup], list[Tensor]],
    lengths: Tensor,
    *,
    max_length: int | Tensor,
    outputs: Sequence[tf.TensorSpec],
) -> tuple[Tensor, ...]:
    """Calls `function(group)` on all groups of rows; returns its joined results.

    Where shapes must be static (`tfnes.solvers.batching.use_static_shapes`) all rows
    are one group, trimmed to `max_length`.

    Args:
      function: returns a list of tensors.
      lengths: `[B]` int32; right in any order, fast in decreasing order.
      max_length: L, no group is trimmed to more than that.
      outputs: what `function` returns: dtypes, and shapes with None as first axis.

    Returns:
      One tensor for each of the function's, joined along the first axis in row order.
    """
    if batching.static_shapes():
        return tuple(function(RowGroup(0, 0, lengths.shape[0], max_length)))
    batch = tf.shape(lengths)[0]
    padded = tf.pad(lengths, [[0, _MAX_ROWS]])

    def body(start, number, arrays):
        longest = tf.reduce_max(padded[start : start + _MAX_ROWS])
        size = -(-tf.maximum(longest, 1) // MULTIPLE) * MULTIPLE
        size = tf.minimum(size, max_length)
        rows = group_rows(size, batch)
        values = function(RowGroup(number, start, rows, size))
        arrays = [a.write(number, v) for a, v in zip(arrays, values, strict=True)]
        return start + rows, number + 1, arrays

    arrays = [
        tf.TensorArray(
            spec.dtype,
            0,
            dynamic_size=True,
            element_shape=spec.shape,
            infer_shape=False,
        )
        for spec in outputs
    ]
    _, _, arrays = tf.while_loop(
        lambda start, *_: start < batch, body, (0, 0, arrays), parallel_iterations=1
    )
    return tuple(array.concat() for array in arrays)
