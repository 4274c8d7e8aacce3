"""Undirected graphs: the `[E]` upper triangle, row-major, and the `[n, n]` matrix."""

from __future__ import annotations

import math

import tensorflow as tf

from tfnes import errors
from tfnes.typing import Tensor


def num_edges(num_vertices: int) -> int:
    """Returns E = n (n - 1) / 2."""
    return num_vertices * (num_vertices - 1) // 2


def num_vertices(edges: Tensor) -> int | Tensor:
    """Returns n of `[..., E]`: an int where E is static, else a scalar int32 tensor.

    E = 0 belongs to a single vertex.

    Raises:
      DataError: if a static E is not n (n - 1) / 2 of any n.
    """
    count = edges.shape[-1]
    if count is None:
        count = tf.cast(tf.shape(edges)[-1], tf.float64)
        return tf.cast(tf.round((1.0 + tf.sqrt(1.0 + 8.0 * count)) / 2.0), tf.int32)
    vertices = (1 + math.isqrt(1 + 8 * count)) // 2
    if num_edges(vertices) != count:
        raise errors.DataError(
            "The last axis must hold the n(n-1)/2 edges of a complete graph (upper "
            f"triangle, row-major). Received: {count} parts, shape {edges.shape}; "
            f"{vertices} vertices have {num_edges(vertices)} edges."
        )
    return vertices


def index_of(i: Tensor, j: Tensor, vertices: int | Tensor) -> Tensor:
    """Returns where edge (i, j), in any order, stands among the `vertices`' edges."""
    low, high = tf.minimum(i, j), tf.maximum(i, j)
    return low * vertices - low * (low + 1) // 2 + high - low - 1


def to_matrix(edges: Tensor) -> Tensor:
    """Returns the symmetric `[..., n, n]` of `[..., E]`; 0 on the diagonal."""
    vertices = num_vertices(edges)
    node = tf.range(vertices)
    diagonal = node[:, None] == node
    if isinstance(vertices, int) and vertices == 1:
        return tf.zeros_like(tf.reduce_sum(edges, -1))[..., None, None]
    if not isinstance(vertices, int):
        # A vertex alone has no edge that the diagonal could read.
        edges = tf.concat([edges, tf.zeros_like(tf.reduce_sum(edges, -1, True))], -1)
    index = tf.where(diagonal, 0, index_of(node[:, None], node, vertices))
    # A gather from one flat axis: XLA would transpose what it gathers from the last.
    shape = tf.shape(edges)
    rows = tf.reduce_prod(shape[:-1])
    first = tf.reshape(tf.range(rows) * shape[-1], tf.concat([shape[:-1], [1, 1]], 0))
    matrix = tf.gather(tf.reshape(edges, [-1]), first + index)
    matrix = tf.where(diagonal, tf.zeros([], edges.dtype), matrix)
    size = vertices if isinstance(vertices, int) else None
    return tf.ensure_shape(matrix, [*edges.shape[:-1], size, size])


def from_matrix(matrix: Tensor) -> Tensor:
    """Returns the upper triangle `[..., E]`, row-major, of `[..., n, n]`."""
    vertices = matrix.shape[-1]
    if vertices is None:
        vertices = tf.shape(matrix)[-1]
    i, j = end_points(vertices)
    shape = tf.shape(matrix)
    flat = tf.reshape(matrix, tf.concat([shape[:-2], [vertices * vertices]], 0))
    if isinstance(vertices, int):
        flat = tf.ensure_shape(flat, [*matrix.shape[:-2], vertices * vertices])
    return tf.gather(flat, i * vertices + j, axis=-1)


def end_points(vertices: int | Tensor) -> tuple[Tensor, Tensor]:
    """Returns the smaller and the larger vertex of each edge, both `[E]` int32."""
    if isinstance(vertices, int):
        pairs = [(i, j) for i in range(vertices) for j in range(i + 1, vertices)]
        i = tf.constant([pair[0] for pair in pairs], tf.int32)
        return i, tf.constant([pair[1] for pair in pairs], tf.int32)
    upper = tf.range(vertices)[:, None] < tf.range(vertices)[None, :]
    index = tf.cast(tf.where(upper), tf.int32)
    return index[:, 0], index[:, 1]


def real_edges(edges: Tensor, lengths: Tensor) -> Tensor:
    """Returns `[..., E]` bool: both end points below `lengths` `[...]`."""
    _, high = end_points(num_vertices(edges))
    return high < lengths[..., None]
