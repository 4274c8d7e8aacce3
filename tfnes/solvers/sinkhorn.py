"""Doubly stochastic matrices: a differentiable stand-in for permutations."""

from __future__ import annotations

import tensorflow as tf

from tfnes.checks import check_integer
from tfnes.solvers import batching
from tfnes.typing import Tensor


def sinkhorn(
    log_potentials: Tensor,
    *,
    temperature: Tensor | float = 1.0,
    num_iterations: int = 20,
    lengths: Tensor | None = None,
) -> Tensor:
    """Returns the doubly stochastic matrix nearest to a permutation, `[..., n, n]`.

    The maximizer of <P, log_potentials> - temperature sum P log P over doubly
    stochastic P, as `num_iterations` tend to infinity: rows and columns of
    exp(log_potentials / temperature) are normalized in turn, on logarithms. Columns
    sum to 1 exactly, rows up to the convergence. O(n^2) an iteration; differentiable.

    Args:
      log_potentials: `[..., n, n]` `[row, column]`; -inf forbids a pair.
      temperature: positive; it tends to the best permutation as this tends to 0.
      num_iterations: row and column normalizations.
      lengths: `[...]` real rows and columns; None: n. Padding is 0 in the result.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> tfnes.solvers.sinkhorn(tf.zeros([2, 2])).numpy()
        array([[0.5, 0.5],
               [0.5, 0.5]], dtype=float32)

    References:
      Sinkhorn (1964); Mena et al. (2018), Learning latent permutations with
      Gumbel-Sinkhorn networks, Section 2.
    """
    num_iterations = check_integer("num_iterations", num_iterations, minimum=1)
    log_potentials = tf.convert_to_tensor(log_potentials)
    size = log_potentials.shape[-1]
    size = tf.shape(log_potentials)[-1] if size is None else size
    flat, sizes, unflatten = batching.flatten(
        log_potentials, lengths, parts_rank=2, full_length=size
    )
    inside = tf.range(size) < sizes[:, None]
    real = inside[:, :, None] & inside[:, None, :]
    # Finite, so that rows of padding have finite sums and gradients.
    scores = tf.where(real & (flat > -1e30), flat / temperature, -1e30)
    for _ in range(num_iterations):
        for axis in (2, 1):
            scores -= tf.reduce_logsumexp(scores, axis=axis, keepdims=True)
            scores = tf.where(real, scores, -1e30)
    return unflatten(tf.where(real, tf.exp(tf.minimum(scores, 0.0)), 0.0))
