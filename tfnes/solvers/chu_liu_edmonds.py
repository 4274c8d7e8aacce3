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

from typing import Any, NamedTuple

import tensorflow as tf

from tfnes.solvers import tree_batching
from tfnes.solvers.tables import write, write_flat
from tfnes.typing import Tensor

_CHUNK = 64
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
    """One lock-step state; every tensor ends in the batch axis B. M = n + 1 nodes."""

    rows: Tensor
    """`[(M + 2n) * M * B]`: the scores `[head, modifier]`, then the reduced row of the
    top after each step `[head]`."""
    records: Tensor
    """`[2n, 4, B]`: of each step the chosen head, the depth of the top in the stack
    (-1: the sentence was done), its word if it is one, else the step that made the row
    of the lower of the two supernodes it was merged from."""
    row: Tensor
    """`[M, B]`: the score of each head of the top; -inf: inside the top, or padding."""
    order: Tensor
    """`[M, B]`: when each node was pushed (root 0); M + 1: not yet. A supernode is an
    interval of it, because only neighbors on the stack are merged."""
    stack_steps: Tensor
    """`[M, B]`: the last step at which the supernode at each depth was the top."""
    stack_first: Tensor
    """`[M, B]`: the lowest `order` in the supernode at each depth."""
    pushed: Tensor
    first: Tensor
    """`[B]`: the lowest `order` in the top."""
    base: Tensor
    """`[B]`: the lowest `order` on the path; all below is attached to the root."""
    depth: Tensor
    word: Tensor
    below: Tensor
    head: Tensor
    closing: Tensor
    """`[B]` bool: a cycle from `head` is being merged and has not reached it yet."""
    root_used: Tensor
    done: Tensor


def _solve(scores: Tensor, lengths: Tensor, *, single_root: bool, jit: bool) -> Tensor:
    """Core: `[B, n+1, n+1]`, `[B]` -> `[B, n]` heads."""
    batch, nodes = tf.shape(scores)[0], tf.shape(scores)[1]
    scores = tf.reshape(scores, [batch, nodes * nodes])
    scores = tf.reshape(tf.transpose(scores), [nodes, nodes, batch])
    state = _start(scores, lengths)
    vector, matrix = tf.TensorShape([None]), tf.TensorShape([None, None])
    shapes = _State(
        vector, tf.TensorShape([None, 4, None]), *[matrix] * 4, *[vector] * 10
    )

    def body(step: Tensor, state: _State) -> Any:
        return step + 1, _grow(step, state, lengths, single_root=single_root, jit=jit)

    steps, state = tf.while_loop(
        lambda _, state: ~tf.reduce_all(state.done),
        body,
        (0, state),
        shape_invariants=(tf.TensorShape([]), shapes),
        parallel_iterations=1,
    )
    return tf.transpose(_expand(state, steps)[1:])


def _start(scores: Tensor, lengths: Tensor) -> _State:
    """The state in which every sentence's path is its first word."""
    nodes, batch = tf.shape(scores)[0], tf.shape(scores)[2]
    node = tf.range(nodes)[:, None]
    # Forbidden arcs become finite, so that -inf means barred by the structure alone.
    # NaN compares false and is forbidden too.
    lowest = tf.constant(_FORBIDDEN, scores.dtype)
    nothing = tf.constant(float("-inf"), scores.dtype)
    scores = tf.where(scores > lowest, scores, lowest)
    scores = tf.where((node <= lengths)[:, None, :], scores, nothing)
    history = tf.fill([2 * (nodes - 1) * nodes * batch], nothing)
    zero = tf.zeros([batch], tf.int32)
    order = tf.where(node == 0, 0, tf.where(node == 1, 1, nodes + 1))
    stack = tf.zeros([nodes, batch], tf.int32)
    return _State(
        rows=tf.concat([tf.reshape(scores, [-1]), history], 0),
        records=tf.fill([2 * (nodes - 1), 4, batch], -1),
        row=tf.where(node == 1, nothing, scores[:, 1]),
        order=order + stack,
        stack_steps=stack,
        stack_first=stack,
        pushed=zero + 2,
        first=zero + 1,
        base=zero + 1,
        depth=zero,
        word=zero + 1,
        below=zero - 1,
        head=zero,
        closing=zero > 0,
        root_used=zero > 0,
        done=lengths <= 0,
    )


def _best_head(state: _State, *, single_root: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the best head of the top, its score, and whether the root is used up."""
    row, nodes = state.row, tf.shape(state.row)[0]
    node = tf.range(nodes)[:, None]
    if not single_root:
        best = tf.reduce_max(row, axis=0)
        head = tf.reduce_min(tf.where(row == best, node, nodes - 1), axis=0)
        root_used = state.root_used
    else:
        best = tf.reduce_max(row[1:], axis=0)
        head = tf.reduce_min(tf.where(row[1:] == best, node[1:], nodes - 1), axis=0)
        # The root is taken by the supernode of all words, or by the first one whose
        # other heads are all forbidden.
        alone = best == -float("inf")
        needed = (best < _LIMIT) & (row[0] > _LIMIT) & ~state.root_used
        to_root = (alone | needed) & ~state.closing
        head, best = tf.where(to_root, 0, head), tf.where(to_root, row[0], best)
        root_used = state.root_used | to_root
    head = tf.where(state.closing, state.head, head)
    return head, tf.where(state.closing, tf.zeros_like(best), best), root_used


def _at(table: Tensor, index: Tensor) -> Tensor:
    """`[R, B]`, `[B]` -> `[B]`: `table[index[b], b]`, 0 if the index is outside."""
    rows = tf.range(tf.shape(table)[0])[:, None]
    return tf.reduce_sum(tf.where(rows == index, table, 0), axis=0)


def _grow(
    step: Tensor, state: _State, lengths: Tensor, *, single_root: bool, jit: bool
) -> _State:
    """One step: chooses the head of the top, then pushes or merges."""
    nodes, batch = tf.shape(state.row)[0], tf.shape(state.row)[1]
    node = tf.range(nodes)[:, None]
    unseen = nodes + 1
    head, best, root_used = _best_head(state, single_root=single_root)
    reduced = state.row - best
    depth = tf.where(state.done, -1, state.depth)
    records = tf.stack([head, depth, state.word, state.below])
    rows = write_flat(state.rows, reduced, (nodes + step) * nodes * batch, jit=jit)

    head_order = _at(state.order, head)
    fresh, attached = head_order == unseen, head_order < state.base
    waiting = (state.order == unseen) & (node > 0) & (node <= lengths)
    start = tf.reduce_min(tf.where(waiting, node, nodes), axis=0)
    done = state.done | (attached & (start == nodes))
    push = (fresh | attached) & ~done
    merge = ~(fresh | attached) & ~done
    word = tf.where(fresh, head, start)

    stack_steps = tf.where(node == state.depth, step, state.stack_steps)
    stack_first = tf.where(node == state.depth, state.first, state.stack_first)
    below = _at(stack_steps, state.depth - 1)
    first = tf.where(merge, _at(stack_first, state.depth - 1), state.first)
    first = tf.where(push, state.pushed, first)
    order = tf.where(push & (node == word), state.pushed, state.order)

    offset = tf.where(
        merge, (nodes + below) * nodes * batch, tf.minimum(word, nodes - 1) * batch
    )
    stride = tf.where(merge, batch, nodes * batch)
    row = tf.gather(rows, offset + node * stride + tf.range(batch))
    row = tf.where(merge, tf.maximum(row, reduced), row)
    inside = (order >= first) & (order < unseen)
    return _State(
        rows=rows,
        records=write(state.records, records, step, jit=jit),
        row=tf.where(inside, tf.constant(float("-inf"), row.dtype), row),
        order=order,
        stack_steps=stack_steps,
        stack_first=stack_first,
        pushed=state.pushed + tf.cast(push, tf.int32),
        first=first,
        base=tf.where(push & attached, state.pushed, state.base),
        depth=state.depth + tf.cast(push, tf.int32) - tf.cast(merge, tf.int32),
        word=tf.where(push, word, -1),
        below=tf.where(merge, below, -1),
        head=head,
        closing=merge & (head_order < first),
        root_used=root_used,
        done=done,
    )


def _expand(state: _State, steps: Tensor) -> Tensor:
    """Runs the steps backwards and returns `[M, B]` heads.

    Each supernode keeps its own choice of a head unless the supernode that it was
    merged into was entered through it; `entered[depth]` is 1 + that head, 0 if there is
    none."""

    def body(step: Tensor, entered: Tensor, heads: Tensor) -> Any:
        nodes, batch = tf.shape(heads)[0], tf.shape(heads)[1]
        node = tf.range(nodes)[:, None]
        head, depth, word, below = tf.unstack(state.records[step])
        active = depth >= 0
        inherited = _at(entered, depth)
        head = tf.where(inherited > 0, inherited - 1, head)
        heads = tf.where(active & (node == word), head, heads)

        def score(row: Tensor) -> Tensor:
            cell = (nodes + tf.maximum(row, 0)) * nodes + head
            return tf.gather(state.rows, cell * batch + tf.range(batch))

        merged = active & (word < 0)
        upper = score(step - 1) >= score(below)
        lower_head = tf.where(merged & ~upper, head + 1, 0)
        entered = tf.where(node == depth, lower_head, entered)
        upper_head = tf.where(upper, head + 1, 0)
        entered = tf.where(merged & (node == depth + 1), upper_head, entered)
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
