"""Spanning trees of a complete undirected graph."""

from __future__ import annotations

import itertools

import numpy as np
import tensorflow as tf

from tfnes import registration
from tfnes.solvers import edges, matrix_tree, prim
from tfnes.structures.inference import ExactInference
from tfnes.structures.structure import Structure
from tfnes.typing import Seed, Tensor


@registration.register("structure")
class SpanningTree(ExactInference, Structure):
    """Spanning trees of n vertices, `[..., E]`, E = n (n - 1) / 2.

    Parts are the edges (i, j), i < j, row-major: (0, 1), (0, 2), ..., (n - 2, n - 1).
    `lengths` counts the real vertices; with 0 or 1 there is one tree, without edges.
    There is no root: trees are undirected, n^(n-2) of them. `argmax` is Prim's
    algorithm, O(n^2); of equally good trees the same one is returned every time. Sums,
    their gradients and exact samples follow from the matrix-tree theorem, O(n^3).

    Example:

        >>> import tensorflow as tf, tfnes
        >>> structure = tfnes.structures.SpanningTree()
        >>> structure.argmax(tf.constant([5.0, 1.0, 2.0])).numpy()
        array([1., 0., 1.], dtype=float32)

    References:
      Prim (1957), "Shortest connection networks and some generalizations"; Kirchhoff
      (1847), the matrix-tree theorem; Cayley (1889), "A theorem on trees" (the count).
    """

    def argmax(self, log_potentials, *, lengths=None):
        return prim.maximum_spanning_tree(log_potentials, lengths=lengths)

    def noise(self, log_potentials, *, seed, index=None):
        log_potentials = tf.convert_to_tensor(log_potentials)
        noise = super().noise(log_potentials, seed=seed, index=index)
        # Edge (i, j) takes draw j (j - 1) / 2 + i, whatever the number of vertices:
        # its place among the edges depends on how many vertices there are.
        low, high = edges.end_points(edges.num_vertices(log_potentials))
        return tf.gather(noise, high * (high - 1) // 2 + low, axis=-1)

    def log_count(self, log_potentials, *, lengths=None):
        log_potentials = tf.convert_to_tensor(log_potentials)
        vertices = self._vertices(log_potentials, lengths)
        # Cayley: n^(n - 2).
        n = tf.cast(tf.maximum(vertices, 2), log_potentials.dtype)
        return (n - 2.0) * tf.math.log(n)

    def contains(self, latent, *, lengths=None):
        latent = tf.convert_to_tensor(latent)
        vertices = self._vertices(latent, lengths)
        real = edges.real_edges(latent, vertices)
        valid = tf.reduce_all((latent == 0) | ((latent == 1) & real), axis=-1)
        size = tf.cast(tf.maximum(vertices - 1, 0), latent.dtype)
        valid &= tf.reduce_sum(latent, axis=-1) == size
        # n - 1 edges that reach every vertex from vertex 0.
        adjacency = tf.cast(edges.to_matrix(latent) != 0, tf.float32)
        nodes = tf.shape(adjacency)[-1]
        reach = adjacency + tf.eye(nodes)
        _, reach = tf.while_loop(
            lambda length, _: length < nodes,
            lambda length, reach: (2 * length, tf.minimum(reach @ reach, 1.0)),
            (tf.constant(1), reach),
        )
        inside = tf.range(nodes) < vertices[..., None]
        return valid & tf.reduce_all(~inside | (reach[..., 0, :] > 0), axis=-1)

    def log_partition(self, log_potentials: Tensor, *, lengths=None) -> Tensor:
        """Returns log of the sum over spanning trees, `[...]`."""
        return matrix_tree.log_partition(log_potentials, lengths=lengths)

    def marginals(self, log_potentials: Tensor, *, lengths=None) -> Tensor:
        """Returns p(edge in tree), `[..., E]`; sums to n - 1."""
        return matrix_tree.marginals(log_potentials, lengths=lengths)

    def sample(
        self,
        log_potentials: Tensor,
        *,
        num_samples: int,
        seed: Seed,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Returns `[num_samples, ..., E]` exact samples."""
        return matrix_tree.sample(
            log_potentials, num_samples=num_samples, seed=seed, lengths=lengths
        )

    def enumerate(self, num_nodes: int) -> np.ndarray:
        """Returns all trees of n = `num_nodes` vertices, `[n^(n-2), E]` (Pruefer)."""
        n = num_nodes
        pairs = {pair: e for e, pair in enumerate(itertools.combinations(range(n), 2))}
        if n < 3:
            return np.ones([1, len(pairs)], np.float32)
        result = np.zeros([n ** (n - 2), len(pairs)], np.float32)
        for row, code in enumerate(itertools.product(range(n), repeat=n - 2)):
            degree = np.bincount(code, minlength=n) + 1
            for parent in code:
                leaf = int(np.argmin(np.where(degree == 1, 0, 1)))
                result[row, pairs[min(leaf, parent), max(leaf, parent)]] = 1
                degree[leaf] -= 1
                degree[parent] -= 1
            i, j = np.flatnonzero(degree == 1).tolist()
            result[row, pairs[i, j]] = 1
        return result

    @staticmethod
    def _vertices(parts: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is not None:
            return tf.convert_to_tensor(lengths)
        return tf.fill(tf.shape(parts)[:-1], edges.num_vertices(parts))
