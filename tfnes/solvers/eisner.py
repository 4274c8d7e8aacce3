"""Projective dependency trees: the best one by Eisner's algorithm, batched, in graph.

The chart is filled width by width, for all positions and the whole batch at once.
Tables are indexed `[width, position, batch]`; those that are read as the right part of
a span are kept by *end* position with the width reversed, so that the sum over all
splits of all spans of one width is the sum of two slices, without any gather.

References:
  Eisner (1996), "Three new probabilistic models for dependency parsing", COLING.
  Eisner and Satta (1999), "Efficient parsing for bilexical context-free grammars and
  head automaton grammars", ACL, section 5 (the O(n^3) split-head form).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import tensorflow as tf

from tfnes.solvers import tree_batching
from tfnes.solvers.tables import (
    first_argmax,
    read,
    sweep_widths,
    write,
    write_block,
)
from tfnes.typing import Tensor

_CHUNK, _LONG_CHUNK = 128, 64
_BLOCKS = 8
RIGHT, LEFT, INNER = 0, 1, 2


def eisner(
    log_potentials: Tensor,
    *,
    lengths: Tensor | None = None,
    single_root: bool = True,
) -> Tensor:
    """Returns the heads of the best projective dependency tree.

    argmax over projective trees of the sum over words m of log_potentials[head(m), m].

    Node 0 is the root and words are 1 ... n; column 0 and the diagonal are ignored.
    Both rules for the root are exact: with `single_root` exactly one word hangs on the
    root (no penalty constants), without it any number of words do. -inf forbids an arc;
    where no tree avoids the forbidden arcs, the result is still a tree. Of equally good
    trees the one with the leftmost splits is returned, on every device. Padding may
    hold anything. Time O(n^3), memory O(n^2) for each sentence. No gradient.

    Args:
      log_potentials: `[..., n+1, n+1]` float32 or float64, `[head, modifier]`.
      lengths: `[...]` number of real words, 0 ... n; None: n.
      single_root: whether exactly one word hangs on the root.

    Returns:
      `[..., n]` int32: the head of each word, 0 for the root; 0 in padding.

    Raises:
      ValueError: if `log_potentials` has another rank, shape or dtype.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> scores = tf.constant([[0.0, 2.0, 1.0], [0.0, 0.0, 5.0], [0.0, 4.0, 0.0]])
        >>> tfnes.solvers.eisner(scores).numpy()
        array([0, 1], dtype=int32)

    References:
      Eisner (1996), COLING, pages 340-345.
    """
    return tree_batching.solve_heads(
        _solve,
        log_potentials,
        lengths,
        chunk=_CHUNK,
        long_chunk=_LONG_CHUNK,
        single_root=single_root,
    )


class Chart(NamedTuple):
    """The tables of N nodes: rows are widths, columns positions, last axis the batch.

    *Complete* spans are headed by an end node and hold all its modifiers on that side;
    *incomplete* spans hold the arc between their ends. "right" is headed by the left
    end."""

    right: Tensor
    """Complete, headed by the left end: `[width, start, B]`."""
    left: Tensor
    """Complete, headed by the right end: `[width, start, B]`."""
    right_by_end: Tensor
    left_by_end: Tensor
    right_arc: Tensor
    """Incomplete, arc from the left end: `[width, start, B]`."""
    left_arc_by_end: Tensor
    splits: Tensor
    """`[width, 3 * N, B]` int32: best splits of right, left and incomplete spans."""


def _solve(scores: Tensor, lengths: Tensor, *, single_root: bool, jit: bool) -> Tensor:
    """Core: `[B, n+1, n+1]`, `[B]` -> `[B, n]` heads."""
    batch, nodes = tf.shape(scores)[0], tf.shape(scores)[1]
    scores = tf.reshape(scores, [batch, nodes * nodes])
    scores = tf.reshape(tf.transpose(scores), [nodes, nodes, batch])
    if single_root:
        # The chart spans the words only; the root takes one word at the end.
        chart = _fill(scores[1:, 1:], jit=jit)
        pending, heads = _start_below_one_root(chart, scores[0, 1:], lengths)
        heads = backtrack(chart.splits, pending, heads, tf.reduce_max(lengths) - 1)
        return tf.transpose(heads) + 1
    # The root is the leftmost node of the chart; it never gets a head.
    chart = _fill(scores, jit=jit)
    position = tf.range(nodes)[:, None]
    pending = tf.where((position == 0) & (lengths > 0), 2 * lengths, 0)
    heads = tf.zeros([nodes, batch], tf.int32)
    heads = backtrack(chart.splits, pending, heads, tf.reduce_max(lengths))
    return tf.transpose(heads[1:])


def skew(scores: Tensor) -> Tensor:
    """`[N, N, B]` -> `[N, N + 1, B]` whose `[s, w]` is `scores[s, s + w]`.

    A view: a row of N + 1 is one longer than a row of the matrix. Cells with s + w >= N
    hold other scores.
    """
    nodes, batch = tf.shape(scores)[0], tf.shape(scores)[2]
    flat = tf.reshape(scores, [nodes * nodes, batch])
    flat = tf.pad(flat, [[0, nodes], [0, 0]])
    return tf.reshape(flat, [nodes, nodes + 1, batch])


def _fill(scores: Tensor, *, jit: bool) -> Chart:
    """Fills the chart of `[N, N, B]` scores, `[head, modifier, batch]`.

    Slices must have fixed sizes under XLA: the widths are done in blocks, each a loop
    with the sizes of its widest span. Cells that are not written yet, and cells past
    the last node, are -inf and never win; they hold nothing that a real span reads."""
    nodes, batch = tf.shape(scores)[0], tf.shape(scores)[2]
    from_left, from_right = skew(scores), skew(tf.transpose(scores, [1, 0, 2]))
    blocks = _BLOCKS if jit else 1
    margin = (nodes + blocks - 1) // blocks
    nothing = tf.constant(float("-inf"), scores.dtype)
    empty = tf.fill([nodes, nodes, batch], nothing)
    by_end = tf.fill([nodes + margin, nodes + margin, batch], nothing)
    zeros, beyond = tf.zeros([nodes, batch], scores.dtype), [[0, margin], [0, 0]]
    one_node = write(empty, zeros, 0)
    one_node_by_end = write(
        by_end, tf.pad(zeros, beyond, constant_values=nothing), nodes - 1
    )
    chart = Chart(
        right=one_node,
        left=one_node,
        right_by_end=one_node_by_end,
        left_by_end=one_node_by_end,
        right_arc=empty,
        left_arc_by_end=by_end,
        splits=tf.zeros([nodes, 3 * nodes, batch], tf.int32),
    )

    def fill(chart: Chart, width: Tensor, starts: Tensor, splits: Tensor) -> Chart:
        return _fill_width(chart, width, starts, splits, from_left, from_right, jit=jit)

    return sweep_widths(fill, chart, blocks=blocks, jit=jit)


def _fill_width(
    chart: Chart,
    width: Tensor,
    starts: Tensor,
    splits: Tensor,
    from_left: Tensor,
    from_right: Tensor,
    *,
    jit: bool,
) -> Chart:
    """Fills the spans of one width: at most `starts` of at most `splits` splits."""
    nodes, batch = tf.shape(chart.right)[0], tf.shape(chart.right)[2]
    row = nodes - 1 - width
    size = [splits, starts, batch]
    arcs = [starts, 1, batch]
    inner, inner_split = first_argmax(
        chart.right[:splits, :starts] + read(chart.left_by_end, row + 1, width, size)
    )
    right_arc = inner + tf.slice(from_left, [0, width, 0], arcs)[:, 0]
    left_arc = inner + tf.slice(from_right, [0, width, 0], arcs)[:, 0]
    put = functools.partial(write_block, outside=float("-inf"), jit=jit)
    chart = chart._replace(
        right_arc=put(chart.right_arc, right_arc, width, 0),
        left_arc_by_end=put(chart.left_arc_by_end, left_arc, row, width),
    )
    right, right_split = first_argmax(
        chart.right_arc[1 : splits + 1, :starts]
        + read(chart.right_by_end, row + 1, width, size)
    )
    left, left_split = first_argmax(
        chart.left[:splits, :starts] + read(chart.left_arc_by_end, row, width, size)
    )
    pad = [[0, nodes - starts], [0, 0]]
    best = [tf.pad(split, pad) for split in (right_split, left_split, inner_split)]
    return chart._replace(
        right=put(chart.right, right, width, 0),
        right_by_end=put(chart.right_by_end, right, row, width),
        left=put(chart.left, left, width, 0),
        left_by_end=put(chart.left_by_end, left, row, width),
        splits=write(chart.splits, tf.concat(best, 0), width),
    )


def _start_below_one_root(
    chart: Chart, root_scores: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """Chooses the root word: max over r of root + left[0..r] + right[r..last]."""
    words, batch = tf.shape(chart.right)[0], tf.shape(chart.right)[2]
    position = tf.range(words)[:, None]
    last = lengths - 1
    inside = position <= last
    cells = (tf.where(inside, last - position, 0) * words + position) * batch
    right = tf.gather(tf.reshape(chart.right, [-1]), cells + tf.range(batch))
    total = tf.where(
        inside,
        root_scores + chart.left[:, 0] + right,
        root_scores.dtype.as_numpy_dtype("-inf"),
    )
    root = tf.where(
        inside & (total == tf.reduce_max(total, axis=0)), position, words - 1
    )
    root = tf.clip_by_value(tf.reduce_min(root, axis=0), 0, tf.maximum(last, 0))
    pending = tf.where((position == 0) & (root > 0), 2 * root + LEFT, 0)
    pending += tf.where((position == root) & (root < last), 2 * last + RIGHT, 0)
    return pending, tf.fill([words, batch], -1)


def backtrack(splits: Tensor, pending: Tensor, heads: Tensor, steps: Tensor) -> Tensor:
    """Reads the best tree off the splits, one arc a step, in exactly `steps` steps.

    A complete span of k + 1 nodes holds k arcs and covers the k gaps between its nodes.
    Taking it apart emits one arc and leaves up to three smaller complete spans that
    together cover one gap less. `pending[gap]` is 2 * end + direction of the span that
    starts there and waits, 0 if there is none; each step takes the first.

    Args:
      splits: `[N, 3 * N, B]` of the chart.
      pending: `[N, B]` int32.
      heads: `[N, B]` int32, filled where a node gets a head.
      steps: `[]`, the largest number of arcs.
    """
    flat = tf.reshape(splits, [-1])

    def body(step: Tensor, pending: Tensor, heads: Tensor) -> Any:
        nodes, batch = tf.shape(heads)[0], tf.shape(heads)[1]
        position = tf.range(nodes)[:, None]

        def split(width: Tensor, kind: Any, start: Tensor) -> Tensor:
            cell = (width * 3 + kind) * nodes + start
            return tf.gather(flat, cell * batch + tf.range(batch))

        gap = tf.reduce_min(tf.where(pending > 0, position, nodes), axis=0)
        span = tf.reduce_sum(tf.where(position == gap, pending, 0), axis=0)
        active = span > 0
        start, end = tf.where(active, gap, 0), tf.where(active, span // 2, 0)
        direction = span % 2
        is_left = direction == LEFT
        modifier = start + split(end - start, direction, start) + 1 - direction
        head = tf.where(is_left, end, start)
        low, high = tf.minimum(head, modifier), tf.maximum(head, modifier)
        middle = low + split(high - low, INNER, low)
        outer_start = tf.where(is_left, start, modifier)
        outer_end = tf.where(is_left, modifier, end)
        pending = tf.where(position == gap, 0, pending)
        for first, last, kind in (
            (low, middle, RIGHT),
            (middle + 1, high, LEFT),
            (outer_start, outer_end, direction),
        ):
            here = active & (position == first) & (first < last)
            pending = tf.where(here, 2 * last + kind, pending)
        heads = tf.where(active & (position == modifier), head, heads)
        return step + 1, pending, heads

    matrix = tf.TensorShape([None, None])
    _, _, heads = tf.while_loop(
        lambda step, *_: step < steps,
        body,
        (0, pending, heads),
        shape_invariants=(tf.TensorShape([]), matrix, matrix),
        parallel_iterations=1,
    )
    return heads
