"""The laws of a latent on a small structure, by enumeration of its members."""

from __future__ import annotations

import itertools

import numpy as np
import tensorflow as tf

from tfnes.errors import UnsupportedStructureError
from tfnes.typing import Tensor


def gibbs(latents: np.ndarray, log_potentials: Tensor) -> Tensor:
    """Returns p(z|x) = exp(<z, h>) / Z (Eq. 1) of each z, `[B, |Z|]`.

    Args:
      latents: `[|Z|, *parts]`, every z once.
      log_potentials: `[B, *parts]`.
    """
    flat = tf.reshape(log_potentials, [tf.shape(log_potentials)[0], -1])
    table = tf.reshape(tf.constant(latents, flat.dtype), [len(latents), -1])
    return tf.nn.softmax(tf.matmul(flat, table, transpose_b=True))


def perturb_and_map(latents: np.ndarray, log_potentials: Tensor) -> Tensor:
    """Returns the law of argmax <z, h + Gumbel noise> (Eq. 2), `[B, |Z|]`.

    For matroids (one of K, k-subsets, spanning trees) the optimum is found greedily, so
    that only the order of the perturbed parts matters. In that order part e comes first
    among a set R with probability exp(h_e) / sum over R of exp(h) (Gumbel), and parts
    that would close a cycle change nothing. So the probability that the greedy
    algorithm passes through the forest F obeys

        P(F + e) += P(F) * exp(h_e) / sum over e' that extend F of exp(h_e').

    Raises:
      UnsupportedStructureError: if the structure is no matroid.
    """
    flat = tf.reshape(log_potentials, [tf.shape(log_potentials)[0], -1])
    bases = [frozenset(np.flatnonzero(z)) for z in latents.reshape(len(latents), -1)]
    _require_matroid(bases)
    levels = [{frozenset()}]
    for size in range(1, len(bases[0]) + 1):
        subsets = (itertools.combinations(sorted(basis), size) for basis in bases)
        levels.append({frozenset(s) for group in subsets for s in group})
    probability = {frozenset(): tf.ones_like(flat[:, 0])}
    for level in levels[1:]:
        following: dict[frozenset, Tensor] = {}
        for forest, reached in probability.items():
            extending = sorted(
                e for e in range(flat.shape[1]) if forest | {e} in level - {forest}
            )
            choice = tf.nn.softmax(tf.gather(flat, extending, axis=1))
            for i, e in enumerate(extending):
                path = reached * choice[:, i]
                key = forest | {e}
                following[key] = following[key] + path if key in following else path
        probability = following
    return tf.stack([probability[basis] for basis in bases], axis=1)


def _require_matroid(bases: list[frozenset]) -> None:
    """Checks the exchange property of all pairs of bases."""
    known = set(bases)
    exchange = all(
        any(first - {e} | {f} in known for f in second - first)
        for first in bases
        for second in bases
        for e in first - second
    )
    if not exchange:
        raise UnsupportedStructureError(
            "The law of perturb-and-MAP is enumerated for matroids only (Categorical, "
            "Subset, SpanningTree). For other structures use law='gibbs'."
        )


LAWS = {"gibbs": gibbs, "perturb_and_map": perturb_and_map}
