"""Permutations: perfect matchings of two sets of n."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import tensorflow as tf

from tfnes import registration
from tfnes.checks import check_integer
from tfnes.solvers.linear_assignment import linear_assignment
from tfnes.solvers.sinkhorn import sinkhorn
from tfnes.structures.structure import Structure
from tfnes.typing import Tensor


@registration.register("structure")
class Matching(Structure):
    """Permutation matrices, `[..., n, n]` `[row, column]`.

    `lengths` counts the real rows and columns. `argmax` is a shortest augmenting path
    method, O(n^3), in the graph; of several optima the same one is returned every time.
    There are n! permutations. The sum over permutations is a permanent, which no
    polynomial algorithm computes, so there are no marginals and no exact samples;
    `relaxed_argmax` is Sinkhorn's (with perturbed potentials: Gumbel-Sinkhorn).

    Args:
      num_iterations: of Sinkhorn's normalization in `relaxed_argmax`.

    Raises:
      ConfigurationError: if `num_iterations` is not positive.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> structure = tfnes.structures.Matching()
        >>> structure.argmax(tf.constant([[3.0, 2.0], [2.0, 0.0]])).numpy()
        array([[0., 1.],
               [1., 0.]], dtype=float32)

    References:
      Jonker & Volgenant (1987), "A shortest augmenting path algorithm for dense and
      sparse linear assignment problems"; Mena et al. (2018), "Learning latent
      permutations with Gumbel-Sinkhorn networks", section 2.
    """

    parts_rank = 2

    def __init__(self, num_iterations: int = 20):
        self.num_iterations = check_integer(
            "Matching.num_iterations", num_iterations, minimum=1
        )

    def argmax(self, log_potentials, *, lengths=None):
        log_potentials = tf.convert_to_tensor(log_potentials)
        columns = linear_assignment(log_potentials, lengths=lengths)
        size = tf.shape(log_potentials)[-1]
        latent = tf.one_hot(columns, size, dtype=log_potentials.dtype)
        return tf.ensure_shape(latent, log_potentials.shape)

    def log_count(self, log_potentials, *, lengths=None):
        log_potentials = tf.convert_to_tensor(log_potentials)
        size = tf.cast(self._sizes(log_potentials, lengths), tf.float64)
        return tf.cast(tf.math.lgamma(size + 1.0), log_potentials.dtype)

    def contains(self, latent, *, lengths=None):
        latent = tf.convert_to_tensor(latent)
        sizes = self._sizes(latent, lengths)
        inside = tf.range(tf.shape(latent)[-1]) < sizes[..., None]
        one = tf.cast(inside, latent.dtype)
        binary = tf.reduce_all((latent == 0) | (latent == 1), axis=[-2, -1])
        rows = tf.reduce_all(tf.reduce_sum(latent, axis=-1) == one, axis=-1)
        columns = tf.reduce_all(tf.reduce_sum(latent, axis=-2) == one, axis=-1)
        return binary & rows & columns

    def relaxed_argmax(
        self,
        log_potentials: Tensor,
        *,
        temperature: Tensor | float,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Returns a doubly stochastic matrix, `[..., n, n]`; see `solvers.sinkhorn`."""
        return sinkhorn(
            log_potentials,
            temperature=temperature,
            num_iterations=self.num_iterations,
            lengths=lengths,
        )

    def enumerate(self, num_nodes: int) -> np.ndarray:
        """Returns all n! permutation matrices of n = `num_nodes`, `[n!, n, n]`."""
        orders = list(itertools.permutations(range(num_nodes)))
        return np.eye(num_nodes, dtype=np.float32)[np.array(orders, np.int32)]

    def get_config(self) -> dict[str, Any]:
        return {"num_iterations": self.num_iterations}

    @staticmethod
    def _sizes(parts: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is not None:
            return tf.convert_to_tensor(lengths)
        return tf.fill(tf.shape(parts)[:-2], tf.shape(parts)[-1])
