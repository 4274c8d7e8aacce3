"""Shared type names and the small record types that cross package borders.

Shapes are written as in the glossary: B batch, S samples per example, n nodes,
E edges, K categories, D features, N population; `parts` is the shape of one
structure (`[K]`, `[E]`, `[n + 1, n + 1]`, ...).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import tensorflow as tf

Tensor: TypeAlias = tf.Tensor
TensorLike: TypeAlias = Any
Batch: TypeAlias = Mapping[str, tf.Tensor]
"""One mini-batch: named tensors whose first axis is the example axis."""

Seed: TypeAlias = tf.Tensor
"""A stateless seed: `[2]`, int32 (see `tfnes.random`)."""


class ELBOTerms(NamedTuple):
    """The evidence lower bound of each example, in nats, and what it is made of.

    Attributes:
      log_likelihood: `[B]`, log p_theta(x | z).
      kl: `[B]`, KL(q_phi(z | x) || p(z)) under the model's named law.
      latent: `[B, *parts]`, the latent z that was used.
      log_potentials: `[B, *parts]`, the encoder's output h_phi(x).
    """

    log_likelihood: Tensor
    kl: Tensor
    latent: Tensor
    log_potentials: Tensor

    @property
    def neg_elbo(self) -> Tensor:
        """`[B]`, -(log_likelihood - kl): the loss of each example, minimised."""
        return self.kl - self.log_likelihood


class GradientEstimate(NamedTuple):
    """What a gradient estimator hands to the optimizer.

    Attributes:
      loss: `[]`, negative ELBO in nats per example (never shaped fitness).
      gradients: one tensor (or None) for each of `variables`.
      variables: the variables that the gradients belong to.
      metrics: further scalars to show and log, by metric name.
      finite: `[]` bool; where False no update is applied.
      touched: `(table, ids)` pairs; of such a table only the rows `ids` and their
        optimizer slots may change.
    """

    loss: Tensor
    gradients: list
    variables: list
    metrics: dict[str, Tensor]
    finite: Tensor
    touched: Sequence[tuple[Any, Tensor]] = ()
