"""The loss that NES sees: the negative ELBO of a batch, with the latent noise fixed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfnes import random
from tfnes.typing import Batch, ELBOTerms, Seed, Tensor

if TYPE_CHECKING:
    from tfnes.models.structured_vae import StructuredVAE


class Fitness:
    """Evaluates the negative ELBO at whatever the model's parameters are just now.

    This is u_i of Algorithm 1,

        u_i = E_{gamma ~ Gumbel(h(x))} [-f(x, argmax_z z^T gamma)]

    with f and h at mu + sigma w_i, plus the KL of Eq. 38 where the model has one. The
    expectation over the latent noise gamma is a mean over `num_latent_samples` draws,
    the same in all evaluations of one update (common random numbers), or the sum over
    all latents (Eq. 1).

    Args:
      model: what is evaluated, in training mode.
      batch: named tensors, example axis first.
      seed: `[2]` int32 key of the update.
      num_latent_samples: latent draws over which each evaluation averages.
      exact_expectation: sum over all latents instead.
    """

    def __init__(
        self,
        model: StructuredVAE,
        batch: Batch,
        *,
        seed: Seed,
        num_latent_samples: int = 1,
        exact_expectation: bool = False,
    ):
        self.model = model
        self.batch = batch
        self.weights = model.example_weights(batch)
        self._exact = exact_expectation
        self._log_potentials: Tensor | None = None
        self._shared = [
            model.shared_terms(batch, seed=random.fold_in(seed, i) if i else seed)
            for i in range(num_latent_samples)
        ]

    def encode(self) -> Tensor:
        """Returns the log-potentials `[B, *parts]`, at which `at_mean` evaluates then.

        The model's own parameters count no longer but for the decoder's.
        """
        self._log_potentials = self.model.encode(self.batch, training=True)
        return self._log_potentials

    def at_mean(self) -> Tensor:
        """Evaluates at the mean, `[B]`, and keeps the latent noise for what follows."""
        losses = []
        for i, shared in enumerate(self._shared):
            terms = self._terms(shared)
            losses.append(self._real(terms.neg_elbo))
            self._shared[i] = self.model.share_noise(self.batch, terms, shared=shared)
        return tf.add_n(losses) / len(losses)

    def share_decoder(self) -> None:
        """Lets the model compute once what depends on the decoder alone.

        For members that all have the decoder at the mean; after `at_mean`.
        """
        self._shared = [
            self.model.share_decoder(self.batch, shared=shared)
            for shared in self._shared
        ]

    def each(self) -> Tensor:
        """Returns the loss of each example, `[B]` float32; 0 for padding."""
        losses = [self._real(self._terms(s).neg_elbo) for s in self._shared]
        return tf.add_n(losses) / len(losses)

    def each_at(self, log_potentials: Tensor) -> Tensor:
        """As `each`, at log-potentials `[B, *parts]`; after `at_mean`."""
        before, self._log_potentials = self._log_potentials, log_potentials
        try:
            return self.each()
        finally:
            self._log_potentials = before

    def mean(self, losses: Tensor) -> Tensor:
        """Returns the mean of `losses` `[B]` over the real examples, `[]`."""
        return tf.math.divide_no_nan(tf.reduce_sum(losses), tf.reduce_sum(self.weights))

    def _terms(self, shared: dict[str, Any]) -> ELBOTerms:
        at = self._log_potentials
        if at is not None and self._exact:
            return self.model.expected_elbo_at(
                self.batch, at, shared=shared, training=True
            )
        if at is not None:
            return self.model.elbo_at(self.batch, at, shared=shared, training=True)
        if self._exact:
            return self.model.expected_elbo(self.batch, training=True)
        return self.model.elbo(self.batch, shared=shared, training=True)

    def _real(self, values: Tensor) -> Tensor:
        # A selection, not a product: padding may hold NaN.
        return tf.where(self.weights > 0, tf.cast(values, tf.float32), 0.0)
