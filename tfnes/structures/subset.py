"""Subsets of k of K parts."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import tensorflow as tf

from tfnes import registration
from tfnes.checks import check_integer
from tfnes.solvers.top_k import log_count, log_partition, marginals, sample, top_k
from tfnes.structures.inference import ExactInference
from tfnes.structures.structure import Structure
from tfnes.typing import Seed, Tensor


@registration.register("structure")
class Subset(ExactInference, Structure):
    """Subsets of exactly k of K parts, `[..., K]`: top-k.

    `lengths` counts the real parts (the first ones). An example with fewer than k real
    parts has one structure, all of them. Of equal parts the lower index is chosen.
    `argmax` is O(K log k); sums and exact samples, by a tournament of polynomials in
    log-space, are O(K k log K), and need a static K. There are C(K, k) subsets.

    Args:
      k: how many parts are chosen.

    Raises:
      ConfigurationError: if k is negative.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> structure = tfnes.structures.Subset(k=2)
        >>> structure.argmax(tf.constant([0.1, 2.0, -1.0])).numpy()
        array([1., 1., 0.], dtype=float32)

    References:
      Chen & Liu (1997), "Statistical applications of the Poisson-binomial and
      conditional Bernoulli distributions", Statistica Sinica 7, section 2.
    """

    def __init__(self, k: int):
        self.k = check_integer("Subset.k", k, minimum=0)

    def argmax(self, log_potentials, *, lengths=None):
        return top_k(log_potentials, k=self.k, lengths=lengths)

    def log_count(self, log_potentials, *, lengths=None):
        log_potentials = tf.convert_to_tensor(log_potentials)
        shape = tf.shape(log_potentials)
        if lengths is None:
            lengths = tf.fill(shape[:-1], shape[-1])
        return log_count(lengths, self.k, log_potentials.dtype)

    def contains(self, latent, *, lengths=None):
        latent = tf.convert_to_tensor(latent)
        parts = tf.shape(latent)[-1]
        lengths = tf.fill(tf.shape(latent)[:-1], parts) if lengths is None else lengths
        real = tf.range(parts) < lengths[..., None]
        valid = tf.reduce_all((latent == 0) | ((latent == 1) & real), axis=-1)
        size = tf.cast(tf.minimum(self.k, lengths), latent.dtype)
        return valid & (tf.reduce_sum(latent, axis=-1) == size)

    def log_partition(self, log_potentials: Tensor, *, lengths=None) -> Tensor:
        """Returns log of the sum over subsets, `[...]`; O(K k log K)."""
        return log_partition(log_potentials, k=self.k, lengths=lengths)

    def marginals(self, log_potentials: Tensor, *, lengths=None) -> Tensor:
        """Returns p(part in subset), `[..., K]`; sums to k."""
        return marginals(log_potentials, k=self.k, lengths=lengths)

    def sample(
        self,
        log_potentials: Tensor,
        *,
        num_samples: int,
        seed: Seed,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Returns `[num_samples, ..., K]` exact samples."""
        return sample(
            log_potentials,
            k=self.k,
            num_samples=num_samples,
            seed=seed,
            lengths=lengths,
        )

    def enumerate(self, num_nodes: int) -> np.ndarray:
        """Returns all subsets of K = `num_nodes` parts, `[C(K, k), K]`."""
        rows = itertools.combinations(range(num_nodes), min(self.k, num_nodes))
        result = [np.isin(np.arange(num_nodes), row) for row in rows]
        return np.array(result, np.float32)

    def get_config(self) -> dict[str, Any]:
        return {"k": self.k}
