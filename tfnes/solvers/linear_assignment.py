"""Maximum-weight perfect matchings of square bipartite graphs, batched."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfnes.solvers import batching
from tfnes.typing import Tensor


def linear_assignment(
    log_potentials: Tensor, *, lengths: Tensor | None = None
) -> Tensor:
    """Returns for each row the column that it is matched to, `[..., n]` int32.

    The permutation that maximizes the sum of its log_potentials, by shortest augmenting
    paths: rows are added one after the other, O(n^3) for each example at most, the
    whole batch in lock-step. -inf forbids a pair (NaN is read as -inf); where no
    permutation avoids them, some permutation is returned. Of several optima the same
    one is returned every time.

    Args:
      log_potentials: `[..., n, n]` `[row, column]`, float32 or float64.
      lengths: `[...]` real rows and columns (the first ones); None: n.

    Returns:
      `[..., n]` int32, -1 in padding.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> scores = tf.constant([[3.0, 2.0], [2.0, 0.0]])
        >>> tfnes.solvers.linear_assignment(scores).numpy()
        array([1, 0], dtype=int32)

    References:
      Jonker & Volgenant (1987), A shortest augmenting path algorithm for dense and
      sparse linear assignment problems.
    """
    log_potentials = tf.convert_to_tensor(log_potentials)
    size = log_potentials.shape[-1]
    size = tf.shape(log_potentials)[-1] if size is None else size
    flat, sizes, unflatten = batching.flatten(
        log_potentials, lengths, parts_rank=2, full_length=size
    )
    return unflatten(_solve(tf.stop_gradient(flat), sizes))


class _Search(NamedTuple):
    """Dijkstra's search for a free column, from one row of each example.

    Attributes:
      row: `[B]` the row whose pairs are looked at next.
      sink: `[B]` the free column that was found; -1: not yet.
      reached: `[B]` distance of the column that was closed last.
      distance: `[B, n]` of each column.
      before: `[B, n]` the row from which each column is reached.
      closed: `[B, n]` bool, columns whose distance is final.
    """

    row: Tensor
    sink: Tensor
    reached: Tensor
    distance: Tensor
    before: Tensor
    closed: Tensor


@batching.compiled
def _solve(flat: Tensor, lengths: Tensor) -> Tensor:
    return batching.in_chunks(_columns, flat, lengths)


def _columns(flat: Tensor, lengths: Tensor) -> Tensor:
    size = tf.shape(flat)[1]
    node = tf.range(size)
    inside = node < lengths[:, None]
    infinity = tf.constant(float("inf"), flat.dtype)
    cost = tf.where(inside[:, None, :] & (flat > -infinity), -flat, infinity)
    # What is left after taking off the best of each row is small beside the scores.
    best = tf.reduce_min(cost, axis=-1, keepdims=True)
    cost -= tf.where(best < infinity, best, tf.zeros_like(best))
    nothing = tf.zeros_like(flat[:, 0], tf.int32) - 1

    def add_row(row, price, column_price, column_of, row_of):
        active = row < lengths

        def search(s: _Search) -> _Search:
            going = active & (s.sink < 0)
            edge = _at(cost, s.row) - _at(price, s.row)[:, None] - column_price
            edge += s.reached[:, None]
            closer = ~s.closed & (edge < s.distance)
            before = tf.where(closer, s.row[:, None], s.before)
            distance = tf.where(closer, edge, s.distance)
            is_open = inside & ~s.closed
            # Half of the range: argmin never picks the largest number that there is.
            reachable = tf.minimum(distance, 0.5 * flat.dtype.max)
            ranked = tf.where(is_open, reachable, infinity)
            column = tf.argmin(ranked, axis=-1, output_type=tf.int32)
            here = node == column[:, None]
            # Only forbidden pairs lead on: take one of them, as if it were free.
            forced = here & (distance == infinity)
            before = tf.where(forced, s.row[:, None], before)
            distance = tf.where(forced, s.reached[:, None], distance)
            owner = _at(row_of, column)
            found = going & (owner < 0)
            return _Search(
                row=tf.where(going & ~found, owner, s.row),
                sink=tf.where(found, column, s.sink),
                reached=tf.where(going, _at(distance, column), s.reached),
                distance=tf.where(going[:, None], distance, s.distance),
                before=tf.where(going[:, None], before, s.before),
                closed=s.closed | (here & going[:, None]),
            )

        start = _Search(
            row=tf.zeros_like(lengths) + row,
            sink=tf.zeros_like(lengths) - 1,
            reached=tf.zeros_like(flat[:, 0, 0]),
            distance=tf.zeros_like(flat[:, 0]) + infinity,
            before=tf.zeros_like(nothing),
            closed=tf.zeros_like(nothing, tf.bool),
        )
        s = tf.while_loop(
            lambda s: tf.reduce_any(active & (s.sink < 0)),
            lambda s: (search(s),),
            (start,),
            maximum_iterations=size,
        )[0]
        # Prices that keep every reduced cost non-negative, and zero along the paths.
        slack = tf.where(
            s.closed, s.reached[:, None] - s.distance, tf.zeros_like(s.distance)
        )
        of_row = tf.gather(slack, tf.maximum(column_of, 0), axis=1, batch_dims=1)
        of_row = tf.where(column_of >= 0, of_row, tf.zeros_like(of_row))
        of_row = tf.where(node == row, s.reached[:, None], of_row)
        price += tf.where(active[:, None], of_row, tf.zeros_like(of_row))
        column_price -= slack

        def augment(going, column, column_of, row_of):
            owner = _at(s.before, column)
            following = _at(column_of, owner)
            write = going[:, None]
            is_column, is_row = node == column[:, None], node == owner[:, None]
            row_of = tf.where(write & is_column, owner[:, None], row_of)
            column_of = tf.where(write & is_row, column[:, None], column_of)
            going &= owner != row
            return going, tf.where(going, following, column), column_of, row_of

        _, _, column_of, row_of = tf.while_loop(
            lambda going, *_: tf.reduce_any(going),
            augment,
            (active, tf.maximum(s.sink, 0), column_of, row_of),
            maximum_iterations=size,
        )
        return row + 1, price, column_price, column_of, row_of

    prices = tf.zeros_like(flat[:, 0])
    return tf.while_loop(
        lambda row, *_: row < size,
        add_row,
        (tf.constant(0), prices, prices, nothing, nothing),
        maximum_iterations=size,
    )[3]


def _at(table: Tensor, index: Tensor) -> Tensor:
    """Returns `table[b, index[b]]` for each b."""
    return tf.gather(table, index, axis=1, batch_dims=1)
