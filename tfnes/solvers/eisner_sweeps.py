"""Soft versions of Eisner's algorithm: four sweeps over its chart, of fixed shapes.

Every argmax over the splits x of a span is replaced by weights a = softmax(x / t).

1. `ascend`: the values of the spans from narrow to wide, sum_j a_j x_j.
2. `descend`: the weight of the whole tree is handed from wide spans to narrow ones,
   each split its share a_j. What arrives at the arcs is the soft tree.

The gradient of the soft tree is both again, in the other order. With W the weight of a
span and upstream gradients of the arcs as scores,

3. `ascend` gives the gradient with respect to the weights, G = sum_j a_j h_j, h being
   the sums over the parts of a split, as x is of the values;
4. `descend` hands the gradient g with respect to the values down; split j gets

       a_j (g (1 + (x_j - sum_i a_i x_i) / t) + W (h_j - G) / t).

Tables are those of `eisner`: `[width, position, batch]`, by start and by end, so that
the splits of all spans of a width are one slice plus another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tfnes.solvers.eisner import skew
from tfnes.solvers.tables import read, sweep_widths, write_block
from tfnes.typing import Tensor

_BLOCKS = 4
RIGHT, LEFT, INNER = 0, 1, 2


class Spans(NamedTuple):
    """One number for each span of N nodes; see `eisner.Chart`.

    Attributes:
      right: complete, headed by the left end: `[width, start, B]`.
      left: complete, headed by the right end: `[width, start, B]`.
      inner: incomplete, without its arc: `[width, start, B]`.
      right_arc: incomplete, with the arc from the left end: `[width, start, B]`.
      left_arc: incomplete, with the arc from the right end: `[width, start, B]`.
      right_by_end: as `right`, `[N - 1 - width, end, B]`; with a margin.
      left_by_end: as `left`.
      left_arc_by_end: as `left_arc`.
    """

    right: Tensor
    left: Tensor
    inner: Tensor
    right_arc: Tensor
    left_arc: Tensor
    right_by_end: Tensor
    left_by_end: Tensor
    left_arc_by_end: Tensor


class Window(NamedTuple):
    """The spans of one width, and their splits, in slices of fixed sizes.

    Attributes:
      width: of the spans.
      row: of their width in a table by end.
      starts: how many positions a slice has; those past N - width are no spans.
      splits: how many splits a slice has; those past `width` are none.
      jit: whether writes are for XLA.
    """

    width: Tensor
    row: Tensor
    starts: Tensor
    splits: Tensor
    jit: bool

    def real(self) -> Tensor:
        """Returns which splits `[splits, starts, 1]` there are."""
        split, start = tf.range(self.splits)[:, None], tf.range(self.starts)
        # row = N - 1 - width is the last start.
        return ((split < self.width) & (start <= self.row))[..., None]

    def of(self, table: Tensor) -> Tensor:
        """Returns the window's row `[starts, B]` of a table by start."""
        batch = tf.shape(table)[2]
        return read(table, self.width, 0, [1, self.starts, batch])[0]

    def of_by_end(self, table: Tensor) -> Tensor:
        """Returns the window's row `[starts, B]` of a table by end."""
        batch = tf.shape(table)[2]
        return read(table, self.row, self.width, [1, self.starts, batch])[0]

    def put(self, table: Tensor, row: Tensor) -> Tensor:
        return write_block(table, row, self.width, 0, outside=0.0, jit=self.jit)

    def put_by_end(self, table: Tensor, row: Tensor) -> Tensor:
        return write_block(table, row, self.row, self.width, outside=0.0, jit=self.jit)

    def splits_of(self, spans: Spans, kind: int) -> Tensor:
        """Returns the sum of the two parts of each split, `[splits, starts, B]`."""
        size = [self.splits, self.starts, tf.shape(spans.right)[2]]
        row, width = self.row, self.width
        if kind == INNER:  # right[s..s+j] + left[s+j+1..s+width]
            first = read(spans.right, 0, 0, size)
            return first + read(spans.left_by_end, row + 1, width, size)
        if kind == RIGHT:  # right_arc[s..s+j+1] + right[s+j+1..s+width]
            first = read(spans.right_arc, 1, 0, size)
            return first + read(spans.right_by_end, row + 1, width, size)
        # left[s..s+j] + left_arc[s+j..s+width]
        first = read(spans.left, 0, 0, size)
        return first + read(spans.left_arc_by_end, row, width, size)

    def of_kind(self, spans: Spans, kind: int) -> Tensor:
        """Returns the number of each span, `[starts, B]`."""
        return self.of((spans.right, spans.left, spans.inner)[kind])

    def hand_down(self, spans: Spans, kind: int, share: Tensor) -> Spans:
        """Adds `share` `[splits, starts, B]` to both parts of each split."""
        row, width = self.row, self.width

        def add(table: Tensor, first: Any, column: Any) -> Tensor:
            return _add_block(table, share, first, column, jit=self.jit)

        if kind == INNER:
            return spans._replace(
                right=add(spans.right, 0, 0),
                left_by_end=add(spans.left_by_end, row + 1, width),
            )
        if kind == RIGHT:
            return spans._replace(
                right_arc=add(spans.right_arc, 1, 0),
                right_by_end=add(spans.right_by_end, row + 1, width),
            )
        return spans._replace(
            left=add(spans.left, 0, 0),
            left_arc_by_end=add(spans.left_arc_by_end, row, width),
        )


Value = Callable[[Window, int, Tensor], Tensor]
"""`(window, kind, sums of the parts [splits, starts, B]) -> value [starts, B]`."""

Share = Callable[[Window, int, Tensor], Tensor]
"""`(window, kind, total of the span [starts, B]) -> shares [splits, starts, B]`."""


def empty(nodes: Tensor, batch: Tensor, dtype: tf.DType, *, jit: bool) -> Spans:
    """Returns tables of zeros; by end with a margin for slices of fixed size."""
    margin = nodes // _BLOCKS + 1 if jit else 0
    by_start = tf.zeros([nodes, nodes, batch], dtype)
    by_end = tf.zeros([nodes + margin, nodes + margin, batch], dtype)
    return Spans(*[by_start] * 5, *[by_end] * 3)


def ascend(scores: Tensor, value: Value, *, jit: bool) -> Spans:
    """Returns the values of all spans, from narrow to wide; 0 for single nodes.

    Args:
      scores: `[N, N, B]`, `[head, modifier, batch]`: what an arc adds.
      value: gives the value of a span from those of the parts of its splits.
      jit: whether this is for XLA.
    """
    nodes, batch = tf.shape(scores)[0], tf.shape(scores)[2]
    from_left, from_right = skew(scores), skew(tf.transpose(scores, [1, 0, 2]))

    def visit(window: Window, spans: Spans) -> Spans:
        def of(kind: int) -> Tensor:
            return value(window, kind, window.splits_of(spans, kind))

        def arcs(skewed: Tensor) -> Tensor:
            size = [window.starts, 1, batch]
            return tf.slice(skewed, [0, window.width, 0], size)[:, 0]

        inner = of(INNER)
        left_arc = inner + arcs(from_right)
        spans = spans._replace(
            inner=window.put(spans.inner, inner),
            right_arc=window.put(spans.right_arc, inner + arcs(from_left)),
            left_arc=window.put(spans.left_arc, left_arc),
            left_arc_by_end=window.put_by_end(spans.left_arc_by_end, left_arc),
        )
        right, left = of(RIGHT), of(LEFT)
        return spans._replace(
            right=window.put(spans.right, right),
            right_by_end=window.put_by_end(spans.right_by_end, right),
            left=window.put(spans.left, left),
            left_by_end=window.put_by_end(spans.left_by_end, left),
        )

    start = empty(nodes, batch, scores.dtype, jit=jit)
    return _sweep(visit, start, upwards=True, jit=jit)


def descend(right: Tensor, left: Tensor, share: Share, *, jit: bool) -> Spans:
    """Returns what reaches the spans and their arcs, from wide to narrow.

    Args:
      right: `[N, N, B]` by width and start: what complete spans get from above.
      left: the same, of those headed by the right end.
      share: gives the shares of the splits of a span.
      jit: whether this is for XLA.
    """

    def visit(window: Window, spans: Spans) -> Spans:
        total = window.of(spans.right) + window.of_by_end(spans.right_by_end)
        spans = spans._replace(right=window.put(spans.right, total))
        spans = window.hand_down(spans, RIGHT, share(window, RIGHT, total))
        total = window.of(spans.left) + window.of_by_end(spans.left_by_end)
        spans = spans._replace(left=window.put(spans.left, total))
        spans = window.hand_down(spans, LEFT, share(window, LEFT, total))
        left_arc = window.of_by_end(spans.left_arc_by_end)
        total = window.of(spans.right_arc) + left_arc
        spans = spans._replace(
            left_arc=window.put(spans.left_arc, left_arc),
            inner=window.put(spans.inner, total),
        )
        return window.hand_down(spans, INNER, share(window, INNER, total))

    nodes, batch = tf.shape(right)[0], tf.shape(right)[2]
    start = empty(nodes, batch, right.dtype, jit=jit)
    start = start._replace(right=right, left=left)
    return _sweep(visit, start, upwards=False, jit=jit)


def _sweep(visit: Any, spans: Spans, *, upwards: bool, jit: bool) -> Spans:
    """Calls `visit(window, spans)` for all widths."""

    def visit_width(spans: Spans, width: Tensor, starts: Tensor, splits: Tensor):
        row = tf.shape(spans.right)[0] - 1 - width
        return visit(Window(width, row, starts, splits, jit), spans)

    blocks = _BLOCKS if jit else 1
    return sweep_widths(visit_width, spans, blocks=blocks, upwards=upwards, jit=jit)


def arcs_of(spans: Spans) -> Tensor:
    """Returns `[N, N, B]`, `[head, modifier, batch]`, of the incomplete spans."""
    return _unskew(spans.right_arc) + tf.transpose(_unskew(spans.left_arc), [1, 0, 2])


def _add_block(
    table: Tensor, values: Tensor, row: Any, column: Any, *, jit: bool
) -> Tensor:
    """Returns `table` `[R, C, B]` with `values` `[r, c, B]` added at (row, column)."""
    size = tf.shape(values)
    if jit:
        # No public operation updates a block in place. The public way, a sum over all
        # of the table, made the surrogate with its gradient 15 % slower (n = 25, B =
        # 128). Not imported at the top: programs without XLA do not need all it loads.
        from tensorflow.compiler.tf2xla.python import xla

        values += read(table, row, column, size)
        return xla.dynamic_update_slice(
            table, values, tf.convert_to_tensor([row, column, 0])
        )
    after = tf.shape(table) - size
    return table + tf.pad(
        values, [[row, after[0] - row], [column, after[1] - column], [0, 0]]
    )


def _unskew(rows: Tensor) -> Tensor:
    """`[N, N, B]` by width and start -> by start and end: the inverse of `skew`."""
    nodes, batch = tf.shape(rows)[0], tf.shape(rows)[2]
    flat = tf.pad(tf.transpose(rows, [1, 0, 2]), [[0, 0], [0, 1], [0, 0]])
    flat = tf.reshape(flat, [nodes * (nodes + 1), batch])[: nodes * nodes]
    return tf.reshape(flat, [nodes, nodes, batch])
