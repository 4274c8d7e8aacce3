"""Sums over projective dependency trees: log-partition function and marginals.

The inside pass fills Eisner's chart with log-sums in place of maxima, and the outside
pass distributes the weight of the whole tree over the arcs, from wide spans to narrow
ones: the share of a span goes to its splits in proportion to their weights.

Both are plain TensorFlow, differentiable any number of times and of any size. Tables
grow by one row a width, so that all slices are of real cells: those by start hold the
widths upwards, those by end downwards.

References:
  Eisner (1996), COLING; Paskin (2001), "Cubic-time parsing and learning algorithms for
    grammatical bigram models", section 4 (inside-outside).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfnes.solvers import batching
from tfnes.solvers.eisner import skew
from tfnes.solvers.tree_batching import check_scores
from tfnes.typing import Tensor

_FORBIDDEN = -1e30
_LIMIT = -1e29


def log_sum(splits: Tensor) -> tuple[Tensor, Tensor]:
    """Returns log sum exp over the splits, axis 0, and the probability of each."""
    value = tf.reduce_logsumexp(splits, axis=0)
    return value, tf.exp(splits - value)


class Tables(NamedTuple):
    """Values of all spans of N nodes, `[widths, N, B]`; see `eisner.Chart`.

    Right and left complete spans are kept by start and by end, incomplete ones by the
    end that is read. Tables by end (`_by_end`) hold the widest spans first. Columns
    that belong to no span are 0.
    """

    right: Tensor
    left: Tensor
    right_by_end: Tensor
    left_by_end: Tensor
    right_arc: Tensor
    left_arc_by_end: Tensor


def projective_log_partition(
    log_potentials: Tensor,
    *,
    lengths: Tensor | None = None,
    single_root: bool = True,
) -> Tensor:
    """Returns log Z = log sum over projective trees of exp(score), `[...]`.

    Conventions are those of `eisner`. The gradient is `projective_marginals`. Where
    every tree has a forbidden arc it is -inf. Time O(n^3) for each sentence.

    Args:
      log_potentials: `[..., n+1, n+1]` float32 or float64, `[head, modifier]`.
      lengths: `[...]` number of real words; None: n. Log Z of no words is 0.
      single_root: whether exactly one word hangs on the root.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> log_z = tfnes.solvers.projective_log_partition(tf.zeros([4, 4]))
        >>> int(tf.round(tf.exp(log_z)))  # three words have 7 trees
        7
    """
    scores, lengths, unflatten = prepare(log_potentials, lengths)

    @tf.custom_gradient
    def log_partition(scores: Tensor) -> Any:
        # The gradient is given below: the tape need not build that of the loops.
        constant = tf.stop_gradient(scores)
        result = inside_outside(
            constant, lengths, single_root=single_root, outside=False
        )

        def gradient(upstream: Tensor) -> Tensor:
            arcs = inside_outside(scores, lengths, single_root=single_root)
            return upstream[:, None, None] * arcs

        return result, gradient

    result = log_partition(scores)
    nothing = tf.constant(float("-inf"), result.dtype)
    return unflatten(tf.where(result > _LIMIT, result, nothing))


def projective_marginals(
    log_potentials: Tensor,
    *,
    lengths: Tensor | None = None,
    single_root: bool = True,
) -> Tensor:
    """Returns the probability of each arc under p(tree) = exp(score) / Z.

    Conventions are those of `projective_log_partition`, of which it is the gradient.

    Returns:
      `[..., n+1, n+1]`; each real word's column sums to 1, all else is 0.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> arcs = tfnes.solvers.projective_marginals(tf.zeros([3, 3]))
        >>> arcs.numpy().round(2)
        array([[0. , 0.5, 0.5],
               [0. , 0. , 0.5],
               [0. , 0.5, 0. ]], dtype=float32)
    """
    scores, lengths, unflatten = prepare(log_potentials, lengths)
    return unflatten(inside_outside(scores, lengths, single_root=single_root))


def prepare(
    log_potentials: Tensor, lengths: Tensor | None
) -> tuple[Tensor, Tensor, Callable[..., Tensor]]:
    """Returns `[B, n+1, n+1]` finite scores, `[B]` lengths, and how to undo the shape.

    Padding becomes 0 and forbidden arcs a number so low that they weigh exactly 0.
    """
    scores = check_scores(log_potentials)
    shape, nodes = scores.shape, tf.shape(scores)[-1]
    scores, lengths, unflatten = batching.flatten(
        scores, lengths, parts_rank=2, full_length=nodes - 1
    )
    # The passes need at least one word.
    extra = tf.maximum(2 - nodes, 0)
    scores = tf.pad(scores, [[0, 0], [0, extra], [0, extra]])
    node = tf.range(tf.shape(scores)[1])
    real = node <= lengths[:, None]
    counts = real[:, :, None] & real[:, None, :] & (node > 0) & (node[:, None] != node)
    scores = tf.where(counts, scores, tf.zeros_like(scores))
    lowest = tf.constant(_FORBIDDEN, scores.dtype)
    # NaN stays: it must not look like an answer.
    scores = tf.where(scores < lowest, lowest, scores)

    def restore(result: Tensor, *, trim: bool = True) -> Tensor:
        if result.shape.rank == 1 or not trim:
            return unflatten(result)
        return tf.ensure_shape(unflatten(result[:, :nodes, :nodes]), shape)

    return scores, lengths, restore


@functools.partial(tf.function, reduce_retracing=True, autograph=False)
def inside_outside(
    scores: Tensor,
    lengths: Tensor,
    *,
    single_root: bool,
    outside: bool = True,
) -> Tensor:
    """Returns the weights of all arcs, `[B, n+1, n+1]`, or else the value, `[B]`.

    Args:
      scores: `[B, n+1, n+1]` finite, from `prepare`.
      lengths: `[B]` int32.
      single_root: whether exactly one word hangs on the root.
      outside: whether to return the weights of the arcs rather than the value.
    """
    by_batch = tf.transpose(scores, [1, 2, 0])
    chart = by_batch[1:, 1:] if single_root else by_batch
    tables = inside(chart)
    value, roots, seeds = _top(tables, by_batch[0, 1:], lengths, single_root)
    if not outside:
        return tf.where(lengths > 0, value, tf.zeros_like(value))
    arcs = _outside(tables, seeds)
    if single_root:
        arcs = tf.concat([roots[None], arcs], axis=0)
        arcs = tf.pad(arcs, [[0, 0], [1, 0], [0, 0]])
    node = tf.range(tf.shape(scores)[1])
    counts = (node > 0) & (node <= lengths[:, None])
    arcs = tf.transpose(arcs, [2, 0, 1])
    return tf.where(counts[:, None, :], arcs, tf.zeros_like(arcs))


def inside(scores: Tensor) -> Tables:
    """Returns the tables of `[N, N, B]` finite scores, `[head, modifier, batch]`."""
    nodes, batch = tf.shape(scores)[0], tf.shape(scores)[2]
    from_left, from_right = skew(scores), skew(tf.transpose(scores, [1, 0, 2]))
    one_node = tf.zeros([1, nodes, batch], scores.dtype)
    none = one_node[:0]
    tables = Tables(one_node, one_node, one_node, one_node, none, none)

    def body(width: Tensor, tables: Tables) -> Any:
        starts = nodes - width
        by_start, by_end = [[0, width], [0, 0]], [[width, 0], [0, 0]]

        def grow(table: Tensor, row: Tensor) -> Tensor:
            return tf.concat([table, tf.pad(row, by_start)[None]], axis=0)

        def grow_by_end(table: Tensor, row: Tensor) -> Tensor:
            return tf.concat([tf.pad(row, by_end)[None], table], axis=0)

        inner, _ = log_sum(inner_splits(tables, width))
        tables = tables._replace(
            right_arc=grow(tables.right_arc, inner + from_left[:starts, width]),
            left_arc_by_end=grow_by_end(
                tables.left_arc_by_end, inner + from_right[:starts, width]
            ),
        )
        right, _ = log_sum(right_splits(tables, width))
        left, _ = log_sum(left_splits(tables, width))
        return width + 1, Tables(
            right=grow(tables.right, right),
            left=grow(tables.left, left),
            right_by_end=grow_by_end(tables.right_by_end, right),
            left_by_end=grow_by_end(tables.left_by_end, left),
            right_arc=tables.right_arc,
            left_arc_by_end=tables.left_arc_by_end,
        )

    table = tf.TensorShape([None, None, None])
    _, tables = tf.while_loop(
        lambda width, _: width < nodes,
        body,
        (1, tables),
        shape_invariants=(tf.TensorShape([]), Tables(*[table] * 6)),
        parallel_iterations=1,
    )
    return tables


def _ending(table: Tensor, count: Tensor, width: Tensor) -> Tensor:
    """The narrowest `count` rows of a table by end, of spans that end at >= width."""
    return table[tf.shape(table)[0] - count :, width:]


def inner_splits(tables: Tables, width: Tensor) -> Tensor:
    """`[width, N - width, B]`: right[s..s+j] + left[s+j+1..s+width] for each j, s."""
    starts = tf.shape(tables.right)[1] - width
    left = _ending(tables.left_by_end, width, width)
    return tables.right[:width, :starts] + left


def right_splits(tables: Tables, width: Tensor) -> Tensor:
    """`[width, N - width, B]`: right_arc[s..s+j+1] + right[s+j+1..s+width]."""
    starts = tf.shape(tables.right)[1] - width
    right = _ending(tables.right_by_end, width, width)
    return tables.right_arc[:width, :starts] + right


def left_splits(tables: Tables, width: Tensor) -> Tensor:
    """`[width, N - width, B]`: left[s..s+j] + left_arc[s+j..s+width]."""
    starts = tf.shape(tables.right)[1] - width
    left_arc = _ending(tables.left_arc_by_end, width, width)
    return tables.left[:width, :starts] + left_arc


def root_splits(tables: Tables, root_scores: Tensor, lengths: Tensor) -> Tensor:
    """`[n, B]`: the score of each word as the only one on the root."""
    word = tf.range(tf.shape(root_scores)[0])[:, None]
    zero = tf.zeros_like(tables.right)
    right = tf.reduce_sum(tf.where(_last_spans(tables, lengths), tables.right, zero), 0)
    scores = root_scores + tables.left[:, 0] + right
    lowest = tf.constant(2 * _FORBIDDEN, scores.dtype)
    return tf.where(word < tf.maximum(lengths, 1), scores, lowest)


def _last_spans(tables: Tables, lengths: Tensor) -> Tensor:
    """`[N, N, B]` bool by width and start: the spans that end at the last word."""
    node = tf.range(tf.shape(tables.right)[1])
    return (node[:, None] + node)[..., None] == lengths - 1


def _top(
    tables: Tables, root_scores: Tensor, lengths: Tensor, single_root: bool
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Returns the value of the sentence, the weights `[n, B]` of the words on the root,
    and the weights `[N, N, B]` of right and left complete spans below the root."""
    if single_root:
        value, roots = log_sum(root_splits(tables, root_scores, lengths))
        zero = tf.zeros_like(tables.right)
        right = tf.where(_last_spans(tables, lengths), roots + zero, zero)
        rest = tf.shape(roots)[0] - 1
        return (
            value,
            roots,
            (right, tf.pad(roots[:, None], [[0, 0], [0, rest], [0, 0]])),
        )
    node = tf.range(tf.shape(tables.right)[1])
    whole = tf.cast(node[:, None] == lengths, tables.right.dtype)
    value = tf.reduce_sum(whole * tables.right[:, 0], axis=0)
    right = tf.pad(whole[:, None], [[0, 0], [0, tf.shape(node)[0] - 1], [0, 0]])
    return value, root_scores, (right, tf.zeros_like(right))


def _outside(tables: Tables, seeds: tuple[Tensor, Tensor]) -> Tensor:
    """Returns the weights of all arcs, `[N, N, B]`, given those of the top spans."""
    nodes, batch = tf.shape(tables.right)[1], tf.shape(tables.right)[2]
    right, left = seeds
    weights = Tables(
        right=right,
        left=left,
        right_by_end=tf.zeros_like(right),
        left_by_end=tf.zeros_like(left),
        right_arc=tf.zeros_like(right[1:]),
        left_arc_by_end=tf.zeros_like(left[1:]),
    )
    empty = tf.zeros([nodes, batch], right.dtype)
    rights = tf.TensorArray(right.dtype, size=nodes, infer_shape=False).write(0, empty)
    lefts = tf.TensorArray(right.dtype, size=nodes, infer_shape=False).write(0, empty)

    def body(width: Tensor, weights: Tables, rights: Any, lefts: Any) -> Any:
        starts = nodes - width
        by_start = [[0, 0], [0, width], [0, 0]]
        by_end = [[0, 0], [width, 0], [0, 0]]
        _, share = log_sum(right_splits(tables, width))
        share *= weights.right[width, :starts] + weights.right_by_end[0, width:]
        right_arc = weights.right_arc + tf.pad(share, by_start)
        right_by_end = weights.right_by_end[1:] + tf.pad(share, by_end)
        _, share = log_sum(left_splits(tables, width))
        share *= weights.left[width, :starts] + weights.left_by_end[0, width:]
        left = weights.left[:width] + tf.pad(share, by_start)
        left_arc = weights.left_arc_by_end + tf.pad(share, by_end)
        _, share = log_sum(inner_splits(tables, width))
        share *= right_arc[width - 1, :starts] + left_arc[0, width:]
        rights = rights.write(width, right_arc[width - 1])
        lefts = lefts.write(width, tf.pad(left_arc[0, width:], [[0, width], [0, 0]]))
        narrower = Tables(
            right=weights.right[:width] + tf.pad(share, by_start),
            left=left,
            right_by_end=right_by_end,
            left_by_end=weights.left_by_end[1:] + tf.pad(share, by_end),
            right_arc=right_arc[: width - 1],
            left_arc_by_end=left_arc[1:],
        )
        return width - 1, narrower, rights, lefts

    table = tf.TensorShape([None, None, None])
    scalar = tf.TensorShape([])
    _, _, rights, lefts = tf.while_loop(
        lambda width, *_: width > 0,
        body,
        (nodes - 1, weights, rights, lefts),
        shape_invariants=(scalar, Tables(*[table] * 6), scalar, scalar),
        parallel_iterations=1,
    )
    return _unskew(rights.stack()) + tf.transpose(_unskew(lefts.stack()), [1, 0, 2])


def _unskew(rows: Tensor) -> Tensor:
    """`[N, N, B]` by width and start -> by start and end: the inverse of `skew`."""
    nodes, batch = tf.shape(rows)[0], tf.shape(rows)[2]
    flat = tf.pad(tf.transpose(rows, [1, 0, 2]), [[0, 0], [0, 1], [0, 0]])
    flat = tf.reshape(flat, [nodes * (nodes + 1), batch])[: nodes * nodes]
    return tf.reshape(flat, [nodes, nodes, batch])
