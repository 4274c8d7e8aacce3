"""Maximum spanning trees of complete undirected graphs by Prim's algorithm, batched."""

from __future__ import annotations

import tensorflow as tf

from tfnes.solvers import batching, edges
from tfnes.solvers.tables import first_argmax_minor
from tfnes.typing import Tensor


def maximum_spanning_tree(
    log_potentials: Tensor, *, lengths: Tensor | None = None
) -> Tensor:
    """Returns the spanning tree that maximizes the sum of its log_potentials.

    O(n^2) for each graph, n - 1 steps for the whole batch. -inf forbids an edge (NaN is
    read as -inf); a graph that is not connected without them gets a tree with as few
    forbidden edges as there must be. Ties are broken the same way every time; subnormal
    scores count as 0.

    Args:
      log_potentials: `[..., E]`, E = n (n - 1) / 2, upper triangle row-major, float32
        or float64.
      lengths: `[...]` vertices of each graph (the first ones); None: n.

    Returns:
      `[..., E]` in {0, 1}.

    Raises:
      DataError: if E is not n (n - 1) / 2 of any n.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> edges = tf.constant([5.0, 1.0, 2.0])        # (0, 1), (0, 2), (1, 2)
        >>> tfnes.solvers.maximum_spanning_tree(edges).numpy()
        array([1., 0., 1.], dtype=float32)

    References:
      Prim (1957), Shortest connection networks and some generalizations.
    """
    log_potentials = tf.convert_to_tensor(log_potentials)
    vertices = edges.num_vertices(log_potentials)
    flat, sizes, unflatten = batching.flatten(
        log_potentials, lengths, parts_rank=1, full_length=vertices
    )
    return tf.stop_gradient(unflatten(_solve(flat, sizes)))


@batching.compiled
def _solve(flat: Tensor, lengths: Tensor) -> Tensor:
    vertices = edges.num_vertices(flat)
    chunk = batching.chunk_of(vertices * vertices)
    return batching.in_chunks(_tree, flat, lengths, chunk=chunk)


def _tree(flat: Tensor, lengths: Tensor) -> Tensor:
    """`[B, E]` scores to `[B, E]` trees."""
    # Half of the range: argmax never picks the lowest number that there is.
    lowest = 0.5 * flat.dtype.min
    # Finite scores stay above -inf, which marks the vertices of the tree; NaN to
    # lowest.
    flat = tf.where(flat > lowest, tf.minimum(flat, flat.dtype.max), lowest)
    batch, count = tf.shape(flat)[0], tf.shape(flat)[1]
    vertices = edges.num_vertices(flat)
    rows = tf.reshape(edges.to_matrix(flat), [batch * vertices, vertices])
    vertex, example = tf.range(vertices), tf.range(batch)
    real = vertex < lengths[:, None]
    none = tf.constant(-float("inf"), flat.dtype)

    def body(step, best, parent):
        _, new = first_argmax_minor(best)
        row = tf.gather(rows, example * vertices + new)
        joined = vertex == new[:, None]
        closer = (row > best) & (best > none)
        parent = tf.where(closer & ~joined, new[:, None], parent)
        best = tf.where(closer, row, best)
        return step + 1, tf.where(joined, none, best), parent

    best = tf.where(real & (vertex > 0), tf.gather(rows, example * vertices), none)
    _, _, parent = tf.while_loop(
        lambda step, *_: step < vertices,
        body,
        (tf.constant(1), best, tf.zeros([batch, vertices], tf.int32)),
        maximum_iterations=vertices - 1,
    )
    # Each vertex but the first brings the edge to its parent; none is there twice.
    edge = edges.index_of(parent[:, 1:], vertex[1:], vertices)
    tree = tf.tensor_scatter_nd_add(
        tf.zeros([batch * count], flat.dtype),
        (example[:, None] * count + edge)[..., None],
        tf.cast(real[:, 1:], flat.dtype),
    )
    return tf.reshape(tree, [batch, count])
