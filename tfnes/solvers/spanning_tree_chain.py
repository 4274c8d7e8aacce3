"""A Markov chain over spanning trees: the approximate sampler.

`matrix_tree.sample` is exact and needs no mixing; this chain is what a method that may
only compare weights would use (the REINFORCE of Figure 2).
"""

from __future__ import annotations

import math

import tensorflow as tf

from tfnes import random
from tfnes.checks import check_integer
from tfnes.solvers import batching, edges
from tfnes.solvers.prim import maximum_spanning_tree
from tfnes.typing import Seed, Tensor


def spanning_tree_chain(
    log_potentials: Tensor,
    *,
    num_steps: int | None = None,
    num_samples: int = 1,
    seed: Seed,
    lengths: Tensor | None = None,
    initial: Tensor | None = None,
) -> Tensor:
    """Returns the states of independent chains after `num_steps` steps, `[S, ..., E]`.

    A step removes a uniformly drawn edge of the tree and puts back an edge (i, j) that
    joins the two sides, with probability proportional to exp(log_potentials[i, j]).
    Its stationary law is p(tree) = exp(score) / Z. It mixes to a total variation of
    epsilon in O(n log(n / epsilon)) steps whatever the weights. O(n^2) a step.

    Args:
      log_potentials: `[..., E]`, upper triangle row-major; -inf forbids an edge.
      num_steps: None: ceil(r log(100 r)), r = n - 1 (n static).
      num_samples: S, independent chains for each example.
      seed: `[2]` int32.
      lengths: `[...]` vertices of each graph; None: n.
      initial: `[..., E]` trees to start from; None: the maximum spanning trees.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> with tfnes.solvers.use_jit_compile(False):      # one call: not worth XLA
        ...     trees = tfnes.solvers.spanning_tree_chain(
        ...         tf.zeros([6]), num_samples=5, seed=tfnes.random.make_seed(0))
        >>> tf.reduce_sum(trees, -1).numpy()
        array([3., 3., 3., 3., 3.], dtype=float32)

    References:
      Anari, Liu, Oveis Gharan & Vinzant (2021), Log-concave polynomials IV: mixing time
      of the down-up walk on the bases of a matroid.
    """
    num_samples = check_integer("num_samples", num_samples, minimum=1)
    if num_steps is not None:
        num_steps = check_integer("num_steps", num_steps, minimum=0)
    log_potentials = tf.convert_to_tensor(log_potentials)
    vertices = edges.num_vertices(log_potentials)
    if num_steps is None:
        rank = max(vertices - 1, 1)
        num_steps = math.ceil(rank * math.log(100 * rank))
    if initial is None:
        initial = maximum_spanning_tree(log_potentials, lengths=lengths)
    flat, sizes, unflatten = batching.flatten(
        log_potentials, lengths, parts_rank=1, full_length=vertices
    )
    start, _, _ = batching.flatten(
        tf.cast(initial, flat.dtype), lengths, parts_rank=1, full_length=vertices
    )
    trees = _run(
        flat,
        sizes,
        start,
        random.make_seed(seed),
        tf.constant(num_steps, tf.int32),
        num_samples=num_samples,
    )
    return batching.samples_first(unflatten(trees), -2)


@batching.compiled
def _run(flat, lengths, start, seed, num_steps, *, num_samples):
    # NaN compares false: it is forbidden.
    matrix = tf.where(flat > -float("inf"), flat, -float("inf"))
    matrix = edges.to_matrix(matrix)[:, None]
    parents = _hang(edges.to_matrix(start), lengths)
    parents = tf.tile(parents[:, None], [1, num_samples, 1])
    shape, chains = tf.shape(parents), [flat.shape[0], num_samples]
    nodes = shape[-1]
    node = tf.range(nodes)
    inside = node < lengths[:, None, None]
    real = inside[..., None] & inside[..., None, :]
    words = tf.cast(tf.maximum(lengths - 1, 1), tf.float32)[:, None]

    def step(count, parents):
        key = random.fold_in(seed, count)
        coin = random.uniform(shape[:2], seed=random.fold_in(key, 1))
        noise = random.gumbel(
            tf.concat([shape, [nodes]], 0),
            seed=random.fold_in(key, 2),
            dtype=flat.dtype,
        )
        # The edge from a random vertex to its parent goes; below is its side.
        cut = 1 + tf.cast(coin * words, tf.int32)
        cut = tf.minimum(cut, tf.maximum(lengths[:, None] - 1, 0))
        cut = tf.ensure_shape(cut, chains)
        below = _below(parents, cut)
        across = below[..., :, None] & ~below[..., None, :] & real
        scores = tf.where(across, matrix + noise, -float("inf"))
        flat_scores = tf.reshape(scores, tf.concat([shape[:2], [nodes * nodes]], 0))
        edge = tf.argmax(flat_scores, axis=-1, output_type=tf.int32)
        edge = tf.ensure_shape(edge, chains)
        low, high = edge // nodes, edge % nodes
        # Where nothing joins the two sides (an infeasible graph) the tree stays.
        going = tf.reduce_max(flat_scores, axis=-1) > -float("inf")
        going = tf.ensure_shape(going, chains)
        parents = _rehang(parents, cut, low, high, going)
        return count + 1, tf.ensure_shape(parents, [*chains, None])

    _, parents = tf.while_loop(
        lambda count, _: count < num_steps,
        step,
        (0, parents),
        shape_invariants=(
            tf.TensorShape([]),
            tf.TensorShape([*chains, None]),
        ),
    )
    has_parent = (node > 0) & inside
    arcs = tf.one_hot(tf.where(has_parent, parents, -1), nodes, dtype=flat.dtype)
    return edges.from_matrix(arcs + tf.linalg.matrix_transpose(arcs))


def _hang(adjacency: Tensor, lengths: Tensor) -> Tensor:
    """`[B, n]` parents of trees hung up at vertex 0 (0 for it and for padding)."""
    nodes = tf.shape(adjacency)[-1]
    node = tf.range(nodes)

    def body(_, seen, parents):
        # Breadth first: vertices that touch a vertex that was seen.
        touch = (adjacency > 0) & seen[:, :, None] & ~seen[:, None, :]
        new = tf.reduce_any(touch, axis=1)
        source = tf.argmax(tf.cast(touch, tf.int32), axis=1, output_type=tf.int32)
        return tf.reduce_any(new), seen | new, tf.where(new, source, parents)

    seen = tf.broadcast_to(node == 0, tf.shape(adjacency)[:2])
    seen = tf.logical_or(seen, tf.zeros_like(adjacency[:, 0], tf.bool))
    return tf.while_loop(
        lambda going, *_: going,
        body,
        (tf.constant(True), seen, tf.zeros_like(adjacency[:, 0], tf.int32)),
        maximum_iterations=nodes,
    )[2]


def _below(parents: Tensor, top: Tensor) -> Tensor:
    """`[B, S, n]` bool: `top` and the vertices that hang below it."""
    node = tf.range(tf.shape(parents)[-1])
    is_top = node == top[..., None]
    ancestor = tf.where(is_top, node, parents)

    def double(reach, ancestor):
        return 2 * reach, tf.gather(ancestor, ancestor, axis=2, batch_dims=2)

    _, ancestor = tf.while_loop(
        lambda reach, _: reach < tf.shape(parents)[-1],
        double,
        (1, ancestor),
        shape_invariants=(tf.TensorShape([]), ancestor.shape),
    )
    return (ancestor == top[..., None]) & (top[..., None] > 0)


def _rehang(parents, cut, low, high, going):
    """Turns the path from `low` up to `cut` around and hangs `low` below `high`."""
    node = tf.range(tf.shape(parents)[-1])

    def body(going, vertex, parent, parents):
        above = tf.gather(parents, vertex, axis=2, batch_dims=2)
        here = (node == vertex[..., None]) & going[..., None]
        parents = tf.where(here, parent[..., None], parents)
        on = going & (vertex != cut)
        return on, tf.where(on, above, vertex), tf.where(on, vertex, parent), parents

    return tf.while_loop(
        lambda going, *_: tf.reduce_any(going),
        body,
        (going, low, high, parents),
        maximum_iterations=tf.shape(parents)[-1],
        shape_invariants=(going.shape, low.shape, high.shape, parents.shape),
    )[3]
