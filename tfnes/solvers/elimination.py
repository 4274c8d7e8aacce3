"""Eliminating vertices from a weighted graph without any subtraction.

The matrix-tree theorem writes the sum over spanning trees as a determinant, and a
determinant of weights that span many orders of magnitude cancels. Gaussian elimination
of a Laplacian never has to: kept as weights instead of diagonals, eliminating word v

    d    = sum over heads h of w[h, v]           (the pivot)
    q[h] = w[h, v] / d
    w'[h, m] = w[h, m] + q[h] w[v, m]

only adds and multiplies positive numbers (Grassmann, Taksar & Heyman 1985), and
Z = product of the pivots. So it can be run on logarithms, whatever their range.

An arc h -> m of the reduced graph goes "through v" with probability
`share` = q[h] w[v, m] / w'[h, m]. Undoing the elimination, last word first, with these
shares gives the marginals, their derivative along a direction, and exact samples; all
errors stay of the order of the rounding error.

For trees with a single root arc the pivot leaves out the root, except that of the last
word; the formulas are the same (the unnormalised stationary law of a Markov chain).

Everything here is on log-weights `[B, n + 1, n + 1]` `[head, modifier]`, node 0 the
root.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfnes import random
from tfnes.typing import Tensor

FORBIDDEN = -1e30
"""Log-weight of a forbidden arc: finite, so that differences are never NaN."""

_TINY = 1e-30


def _total(x: Tensor) -> Tensor:
    top = tf.reduce_max(x, -1)
    return top + tf.math.log(tf.reduce_sum(tf.exp(x - top[..., None]), -1))


def _add(x: Tensor, y: Tensor) -> Tensor:
    return tf.maximum(x, y) + tf.math.log(1.0 + tf.exp(-tf.abs(x - y)))


def _share(path: Tensor, table: Tensor, real: Tensor) -> Tensor:
    """Returns the probability that an arc of the reduced graph goes through v."""
    share = tf.exp(tf.minimum(path - table, 0.0))
    return tf.where(real[:, None, None], share, 0.0)


def _without(table: Tensor, share: Tensor) -> Tensor:
    rest = tf.math.log(tf.maximum(1.0 - share, _TINY))
    return tf.maximum(table + rest, FORBIDDEN)


class _Step(NamedTuple):
    """What eliminating word v needs, read off the table of weights.

    Attributes:
      pivot: `[B]` log d.
      q: `[B, n + 1]` log q[h], forbidden for h >= v.
      path: `[B, n + 1, n + 1]` log weight of h -> m through v.
      pivot_q: `[B, n + 1]` plain q[h] of the heads that the pivot sums.
      real: `[B]` bool, whether v is a word.
    """

    pivot: Tensor
    q: Tensor
    path: Tensor
    pivot_q: Tensor
    real: Tensor


def _step(table: Tensor, v: Tensor, lengths: Tensor, single_root: bool) -> _Step:
    node = tf.range(tf.shape(table)[-1])
    real = v <= lengths
    below = (node < v) & real[:, None]
    column = tf.where(below, tf.gather(table, v, axis=2), FORBIDDEN)
    row = tf.where(below & (node > 0), tf.gather(table, v, axis=1), FORBIDDEN)
    counted = below
    if single_root:
        counted &= (node > 0) | (v == 1)
    pivot = _total(tf.where(counted, column, FORBIDDEN))
    q = tf.where(below, tf.maximum(column - pivot[:, None], FORBIDDEN), FORBIDDEN)
    path = tf.maximum(q[:, :, None] + row[:, None, :], FORBIDDEN)
    return _Step(pivot, q, path, tf.where(counted, tf.exp(q), 0.0), real)


def eliminate(
    table: Tensor, lengths: Tensor, *, single_root: bool
) -> tuple[Tensor, Tensor]:
    """Eliminates the words n, n - 1, ..., 1.

    Returns:
      `[B]` log Z, and the table in which row and
      column v are those at the moment when v was eliminated.
    """

    def body(v, table, total):
        step = _step(table, v, lengths, single_root)
        table = _add(table, step.path)
        total += tf.where(step.real, step.pivot, 0.0)
        return v - 1, table, total

    nodes = tf.shape(table)[-1]
    _, table, total = tf.while_loop(
        lambda v, *_: v > 0,
        body,
        (nodes - 1, table, tf.zeros_like(table[:, 0, 0])),
        maximum_iterations=nodes,
    )
    return total, table


def marginals(table: Tensor, lengths: Tensor, *, single_root: bool) -> Tensor:
    """Returns `[B, n + 1, n + 1]` p(h -> m in the tree) from an eliminated table."""
    node = tf.range(tf.shape(table)[-1])

    def body(v, table, result):
        step = _step(table, v, lengths, single_root)
        share = _share(step.path, table, step.real)
        moved = result * share
        as_head = tf.reduce_sum(moved, 1)
        by_head = tf.reduce_sum(moved, 2)
        total = tf.reduce_sum(by_head, 1, keepdims=True)
        heads = step.pivot_q * (1.0 - total) + by_head
        result = result - moved
        result = tf.where((node == v)[:, None], as_head[:, None, :], result)
        result = tf.where(node == v, heads[:, :, None], result)
        return v + 1, _without(table, share), result

    nodes = tf.shape(table)[-1]
    result = tf.while_loop(
        lambda v, *_: v < nodes,
        body,
        (tf.constant(1), table, tf.zeros_like(table)),
        maximum_iterations=nodes,
    )[2]
    return tf.clip_by_value(result, 0.0, 1.0)


def marginals_derivative(
    table: Tensor,
    tangent: Tensor,
    lengths: Tensor,
    *,
    single_root: bool,
) -> Tensor:
    """Returns the derivative of the marginals along `tangent`.

    It is the product of the Hessian of log Z, which is symmetric, with `tangent`; so it
    serves reverse-mode differentiation too.

    Args:
      table: `[B, n + 1, n + 1]` log-weights, not eliminated.
      tangent: `[B, n + 1, n + 1]` change of the log-weights, 0 where forbidden.
      lengths: `[B]` words.
      single_root: whether exactly one word hangs on the root.
    """
    nodes = tf.shape(table)[-1]
    node = tf.range(nodes)
    epsilon = tf.constant(1e-7 if table.dtype == tf.float32 else 1e-15, table.dtype)
    # A log-weight of a reduced graph changes by at most two changes an arc of a path.
    bound = tf.reduce_max(tf.abs(tangent), axis=[1, 2], keepdims=True)
    bound *= tf.cast(2 * nodes, table.dtype)

    def through(v, table, tangent):
        step = _step(table, v, lengths, single_root)
        column = tf.gather(tangent, v, axis=2)
        d_q = column - tf.reduce_sum(step.pivot_q * column, -1, keepdims=True)
        d_path = d_q[:, :, None] + tf.gather(tangent, v, axis=1)[:, None, :]
        return step, d_q, d_path

    def forward(v, table, tangent):
        step, _, d_path = through(v, table, tangent)
        table = _add(table, step.path)
        share = _share(step.path, table, step.real)
        return v - 1, table, tangent + share * (d_path - tangent)

    def backward(v, table, tangent, result, d_result):
        step, d_q, d_path = through(v, table, tangent)
        share = _share(step.path, table, step.real)
        d_share = share * (d_path - tangent)
        moved, d_moved = result * share, d_result * share + result * d_share
        total = tf.reduce_sum(moved, [1, 2])[:, None]
        d_total = tf.reduce_sum(d_moved, [1, 2])[:, None]
        heads = step.pivot_q * (1.0 - total) + tf.reduce_sum(moved, 2)
        d_heads = step.pivot_q * (d_q * (1.0 - total) - d_total)
        d_heads += tf.reduce_sum(d_moved, 2)
        as_head, d_as_head = tf.reduce_sum(moved, 1), tf.reduce_sum(d_moved, 1)
        is_row, is_column = (node == v)[:, None], node == v
        result = tf.where(is_row, as_head[:, None, :], result - moved)
        result = tf.where(is_column, heads[:, :, None], result)
        d_result = tf.where(is_row, d_as_head[:, None, :], d_result - d_moved)
        d_result = tf.where(is_column, d_heads[:, :, None], d_result)
        rest = tf.maximum(1.0 - share, epsilon)
        tangent = tf.clip_by_value((tangent - share * d_path) / rest, -bound, bound)
        return v + 1, _without(table, share), tangent, result, d_result

    _, table, tangent = tf.while_loop(
        lambda v, *_: v > 0,
        forward,
        (nodes - 1, table, tangent),
        maximum_iterations=nodes,
    )
    zeros = tf.zeros_like(table)
    return tf.while_loop(
        lambda v, *_: v < nodes,
        backward,
        (tf.constant(1), table, tangent, zeros, zeros),
        maximum_iterations=nodes,
    )[4]


def sample_heads(
    table: Tensor,
    lengths: Tensor,
    seed: Tensor,
    *,
    num_samples: int,
    single_root: bool,
) -> Tensor:
    """Returns `[B, S, n + 1]` int32 heads of exact samples, given an eliminated table.

    Undoing the elimination of v, every arc h -> m becomes v -> m with its share; then v
    takes a head from q among the nodes that do not hang below it. Heads of the root and
    of padding are 0.
    """
    batch, nodes = tf.shape(table)[0], tf.shape(table)[-1]
    node = tf.range(nodes)

    def body(v, table, heads):
        step = _step(table, v, lengths, single_root)
        share = _share(step.path, table, step.real)
        key = random.fold_in(seed, v)
        shape = [batch, num_samples, nodes]
        coin = random.uniform(shape, seed=random.fold_in(key, 1), dtype=table.dtype)
        noise = random.gumbel(shape, seed=random.fold_in(key, 2), dtype=table.dtype)
        of_arc = tf.gather(
            tf.transpose(share, [0, 2, 1]),
            tf.transpose(heads, [0, 2, 1]),
            axis=2,
            batch_dims=2,
        )
        moved = (node > 0) & (node < v) & (coin < tf.transpose(of_arc, [0, 2, 1]))
        root_moved = tf.reduce_any(moved & (heads == 0), -1, keepdims=True)
        heads = tf.where(moved, v, heads)
        ancestor = tf.where(node == v, v, heads)
        for _ in range(_doublings(table)):
            ancestor = tf.gather(ancestor, ancestor, axis=2, batch_dims=2)
        free = (node < v) & (ancestor == 0)
        if single_root:
            free &= (node > 0) | root_moved | (v == 1)
        choice = tf.where(free, step.q[:, None, :] + noise, 2 * FORBIDDEN)
        head = tf.argmax(choice, -1, output_type=tf.int32)
        head = tf.where(step.real[:, None], head, 0)
        heads = tf.where(node == v, head[..., None], heads)
        return v + 1, _without(table, share), tf.ensure_shape(heads, start.shape)

    start = tf.zeros([batch, num_samples, nodes], tf.int32)
    return tf.while_loop(
        lambda v, *_: v < nodes,
        body,
        (tf.constant(1), table, start),
        maximum_iterations=nodes,
    )[2]


def _doublings(table: Tensor) -> int:
    """Pointer doublings after which every ancestor chain has ended."""
    nodes = table.shape[-1]
    return max(1, (nodes - 1).bit_length()) if nodes is not None else 16
