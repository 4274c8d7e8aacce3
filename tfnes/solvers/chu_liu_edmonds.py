"""Non-projective dependency trees: maximum spanning arborescences, batched, in graph.

The algorithm of Chu-Liu, Edmonds and Tarjan in its path-growing form for dense graphs,
done for the whole batch in lock-step: at most 2n - 1 steps of O(n) work for each
sentence. A path of supernodes grows along the best incoming arc of its top; where that
arc comes from the path itself, the top two are merged until the cycle is one supernode;
where it comes from nodes that are attached to the root already, the path is done.

A supernode is the row of its best reduced score from every outer head. Columns are
never merged, and merged rows are the maximum of two rows that are kept, so the tree is
read off backwards by asking, at each merge, which of the two rows the winning score
came from.

References:
  Tarjan (1977), "Finding optimum branchings", Networks 7.
  Gabow, Galil, Spencer and Tarjan (1986), "Efficient algorithms for finding minimum
    spanning trees in undirected and directed graphs", Combinatorica 6, section 4.
  Zmigrod, Vieira and Cotterell (2020), "Please mind the root: decoding arborescences
    for dependency parsing", EMNLP (on the constraint of a single root).
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import tensorflow as tf

from tfnes.solvers import tree_batching
from tfnes.solvers.tables import first_argmax_minor, pick, write
from tfnes.typing import Tensor

_CHUNK = 128
_FORBIDDEN = -1e30
_LIMIT = -1e29


def chu_liu_edmonds(
    log_potentials: Tensor,
    *,
    lengths: Tensor | None = None,
    single_root: bool = True,
) -> Tensor:
    """Returns the heads of the best dependency tree, projective or not.

    argmax over trees of the sum over words m of log_potentials[head(m), m].

    Node 0 is the root and words are 1 ... n; column 0 and the diagonal are ignored.
    Both rules for the root are exact: with `single_root` exactly one word hangs on the
    root (arcs of the root are barred while a supernode has another head; there are no
    penalty constants), without it any number of words do. -inf, NaN and anything below
    -1e29 forbid an arc; where no tree avoids the forbidden arcs, the result is still a
    tree. Of equally good trees the same one is returned every time. Padding may hold
    anything. Time and memory O(n^2) for each sentence. No gradient.

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
        >>> tfnes.solvers.chu_liu_edmonds(scores).numpy()
        array([0, 1], dtype=int32)

    References:
      Tarjan (1977), Networks 7, pages 25-35; Zmigrod et al. (2020), EMNLP, section 4.
    """
    return tree_batching.solve_heads(
        _solve, log_potentials, lengths, chunk=_CHUNK, single_root=single_root
    )


class _State(NamedTuple):
    """One lock-step state of B sentences with M = n + 1 nodes.

    A supernode is known by the step at which it was the top of the path and chose its
    head; the path is a linked list of such steps.
    """

    rows: Tensor
    """`[M + 2n, B, M]`: the scores of all heads for each node, then for the top at each
    step, reduced by the score of the head that it chose."""
    records: Tensor
    """`[2n, 6, B]`: what is known of each step, see `_Field`."""
    row: Tensor
    """`[B, M]`: scores of all heads for the top; -inf: inside the top, or padding."""
    order: Tensor
    """`[B, M]`: when each node was pushed (root 0); M + 1: not yet. A supernode is an
    interval of it, because only neighbors on the path are merged."""
    pushed: Tensor
    """`[B]`: number of nodes that were pushed; the next value of `order`."""
    first: Tensor
    """`[B]`: the lowest `order` in the top."""
    base: Tensor
    """`[B]`: the lowest `order` on the path; all below is attached to the root."""
    under: Tensor
    """`[B]`: the step of the supernode under the top, -1 at the end of the path."""
    depth: Tensor
    """`[B]`: the number of supernodes under the top."""
    word: Tensor
    """`[B]`: the word that the top is, -1 if it was merged."""
    lower: Tensor
    """`[B]`: the step of the lower of the two supernodes that the top was merged
    from."""
    head: Tensor
    """`[B]`: the head that was chosen last."""
    closing: Tensor
    """`[B]` bool: a cycle from `head` is being merged and has not reached it yet."""
    root_used: Tensor
    done: Tensor


class _Field(enum.IntEnum):
    """Rows of a record."""

    HEAD, DEPTH, WORD, LOWER, FIRST, UNDER = range(6)


def _solve(scores: Tensor, lengths: Tensor, *, single_root: bool, jit: bool) -> Tensor:
    """Core: `[B, n+1, n+1]`, `[B]` -> `[B, n]` heads."""
    del jit  # The same operations serve both.
    state = _start(scores, lengths)
    vector, matrix = tf.TensorShape([None]), tf.TensorShape([None, None])
    table, records = tf.TensorShape([None, None, None]), tf.TensorShape([None, 6, None])
    shapes = _State(table, records, matrix, matrix, *[vector] * 11)

    def body(step: Tensor, state: _State) -> Any:
        return step + 1, _grow(step, state, lengths, single_root=single_root)

    steps, state = tf.while_loop(
        lambda _, state: ~tf.reduce_all(state.done),
        body,
        (0, state),
        shape_invariants=(tf.TensorShape([]), shapes),
        parallel_iterations=1,
    )
    return _expand(state, steps)[:, 1:]


def _start(scores: Tensor, lengths: Tensor) -> _State:
    """The state in which every sentence's path is its first word."""
    batch, nodes = tf.shape(scores)[0], tf.shape(scores)[1]
    node = tf.range(nodes)
    # Forbidden arcs become finite, so that -inf means barred by the structure alone.
    # NaN compares false and is forbidden too.
    lowest = tf.constant(_FORBIDDEN, scores.dtype)
    nothing = tf.constant(float("-inf"), scores.dtype)
    rows = tf.transpose(scores, [2, 0, 1])
    rows = tf.where(rows > lowest, rows, lowest)
    rows = tf.where(node <= lengths[:, None], rows, nothing)
    history = tf.fill([2 * (nodes - 1), batch, nodes], nothing)
    zero = tf.zeros([batch], tf.int32)
    order = tf.where(node == 0, 0, tf.where(node == 1, 1, nodes + 1))
    return _State(
        rows=tf.concat([rows, history], 0),
        records=tf.fill([2 * (nodes - 1), 6, batch], -1),
        row=tf.where(node == 1, nothing, rows[1]),
        order=order + tf.zeros([batch, nodes], tf.int32),
        pushed=zero + 2,
        first=zero + 1,
        base=zero + 1,
        under=zero - 1,
        depth=zero,
        word=zero + 1,
        lower=zero - 1,
        head=zero,
        closing=zero > 0,
        root_used=zero > 0,
        done=lengths <= 0,
    )


def _best_head(state: _State, *, single_root: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the best head of the top, its score, and whether the root is used up."""
    if not single_root:
        best, head = first_argmax_minor(state.row)
        root_used = state.root_used
    else:
        root = state.row[:, 0]
        node = tf.range(tf.shape(state.row)[1])
        nothing = tf.constant(float("-inf"), root.dtype)
        best, head = first_argmax_minor(tf.where(node == 0, nothing, state.row))
        # The root is taken by the supernode of all words, or by the first one whose
        # other heads are all forbidden.
        needed = (best < _LIMIT) & (root > _LIMIT) & ~state.root_used
        to_root = ((best == nothing) | needed) & ~state.closing
        head, best = tf.where(to_root, 0, head), tf.where(to_root, root, best)
        root_used = state.root_used | to_root
    head = tf.where(state.closing, state.head, head)
    return head, tf.where(state.closing, tf.zeros_like(best), best), root_used


def _grow(step: Tensor, state: _State, lengths: Tensor, *, single_root: bool) -> _State:
    """One step: chooses the head of the top, then pushes or merges."""
    batch, nodes = tf.shape(state.row)[0], tf.shape(state.row)[1]
    node = tf.range(nodes)
    unseen = nodes + 1
    head, best, root_used = _best_head(state, single_root=single_root)
    reduced = state.row - best[:, None]
    rows = write(state.rows, reduced, nodes + step)
    depth = tf.where(state.done, -1, state.depth)
    record = [head, depth, state.word, state.lower, state.first, state.under]
    records = write(state.records, tf.stack(record), step)

    head_order = pick(state.order, head)
    fresh, attached = head_order == unseen, head_order < state.base
    waiting = (state.order == unseen) & (node <= lengths[:, None])
    start = tf.reduce_min(tf.where(waiting, node, nodes), axis=1)
    done = state.done | (attached & (start == nodes))
    push = (fresh | attached) & ~done
    merge = ~(fresh | attached) & ~done
    word = tf.where(fresh, head, start)

    def of_lower(field: _Field) -> Tensor:
        cell = (tf.maximum(state.under, 0) * 6 + field) * batch + tf.range(batch)
        return tf.gather(tf.reshape(records, [-1]), cell)

    first = tf.where(push, state.pushed, state.first)
    first = tf.where(merge, of_lower(_Field.FIRST), first)
    under = tf.where(push, step, state.under)
    newest = push[:, None] & (node == word[:, None])
    order = tf.where(newest, state.pushed[:, None], state.order)

    source = tf.where(merge, nodes + state.under, tf.minimum(word, nodes - 1))
    row = tf.gather(
        tf.reshape(rows, [-1, nodes]), tf.maximum(source, 0) * batch + tf.range(batch)
    )
    row = tf.where(merge[:, None], tf.maximum(row, reduced), row)
    inside = (order >= first[:, None]) & (order < unseen)
    return _State(
        rows=rows,
        records=records,
        row=tf.where(inside, tf.constant(float("-inf"), row.dtype), row),
        order=order,
        pushed=state.pushed + tf.cast(push, tf.int32),
        first=first,
        base=tf.where(push & attached, state.pushed, state.base),
        under=tf.where(merge, of_lower(_Field.UNDER), under),
        depth=state.depth + tf.cast(push, tf.int32) - tf.cast(merge, tf.int32),
        word=tf.where(push, word, -1),
        lower=tf.where(merge, state.under, -1),
        head=head,
        closing=merge & (head_order < first),
        root_used=root_used,
        done=done,
    )


def _expand(state: _State, steps: Tensor) -> Tensor:
    """Runs the steps backwards and returns `[B, M]` heads.

    Each supernode keeps its own choice of a head unless the supernode that it was
    merged into was entered through it; `entered[depth]` is 1 + that head, 0 if there is
    none.
    """

    def body(step: Tensor, entered: Tensor, heads: Tensor) -> Any:
        batch, nodes = tf.shape(heads)[0], tf.shape(heads)[1]
        node = tf.range(nodes)
        head, depth, word, lower, _, _ = tf.unstack(state.records[step])
        active = depth >= 0
        depth = tf.maximum(depth, 0)
        inherited = pick(entered, depth)
        head = tf.where(inherited > 0, inherited - 1, head)
        leaf = (active & (word >= 0))[:, None] & (node == word[:, None])
        heads = tf.where(leaf, head[:, None], heads)

        def score(row: Tensor) -> Tensor:
            cell = (nodes + tf.maximum(row, 0)) * batch + tf.range(batch)
            return tf.gather(tf.reshape(state.rows, [-1]), cell * nodes + head)

        merged = active & (word < 0)
        upper = score(step - 1) >= score(lower)
        below = tf.where(merged & ~upper, head + 1, 0)[:, None]
        above = tf.where(merged & upper, head + 1, 0)[:, None]
        entered = tf.where(node == depth[:, None], below, entered)
        entered = tf.where(node == depth[:, None] + 1, above, entered)
        return step - 1, entered, heads

    matrix = tf.TensorShape([None, None])
    empty = tf.zeros_like(state.order)
    _, _, heads = tf.while_loop(
        lambda step, *_: step >= 0,
        body,
        (steps - 1, empty, empty),
        shape_invariants=(tf.TensorShape([]), matrix, matrix),
        parallel_iterations=1,
    )
    return heads
