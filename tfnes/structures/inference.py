"""What follows from a partition function: entropy, KL, log-probability, distribution.

Written once for every structure that has `log_partition` and `marginals`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from tfnes.typing import Tensor

if TYPE_CHECKING:
    import tensorflow_probability as tfp


class ExactInference:
    """Mixin of a `Structure` with `log_partition` and `marginals`.

    The law is p(z) = exp(<z, log_potentials>) / Z. Sums that cancel (entropy, KL,
    log-probability) are formed in float64, so that they stay right where scores are
    large, and are returned in the dtype of the log-potentials.
    """

    def log_prob(
        self, latent: Tensor, log_potentials: Tensor, *, lengths: Tensor | None = None
    ) -> Tensor:
        """Returns log p(latent) = <latent, log_potentials> - log Z, `[...]`, <= 0.

        `latent` must be in Z (see `contains`); it is not checked.
        """
        wide = tf.cast(log_potentials, tf.float64)
        result = self.score(tf.cast(latent, tf.float64), wide) - self.log_partition(
            wide, lengths=lengths
        )
        return tf.cast(tf.minimum(result, 0.0), log_potentials.dtype)

    def entropy(
        self, log_potentials: Tensor, *, lengths: Tensor | None = None
    ) -> Tensor:
        """Returns H(p) = log Z - <marginals, log_potentials> in nats, `[...]`."""
        wide = tf.cast(log_potentials, tf.float64)
        result = self.log_partition(wide, lengths=lengths) - self.score(
            self.marginals(wide, lengths=lengths), wide
        )
        return tf.cast(tf.maximum(result, 0.0), log_potentials.dtype)

    def kl_divergence(
        self,
        log_potentials: Tensor,
        other: Tensor | None = None,
        *,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Returns KL(p || q) in nats, `[...]`.

        Args:
          log_potentials: `[..., *parts]` of p.
          other: `[..., *parts]` of q; None: q is uniform over Z.
          lengths: `[...]` real nodes of each example.
        """
        p = tf.cast(log_potentials, tf.float64)
        marginals = self.marginals(p, lengths=lengths)
        result = self.score(marginals, p) - self.log_partition(p, lengths=lengths)
        if other is None:
            result += self.log_count(p, lengths=lengths)
        else:
            q = tf.cast(other, tf.float64)
            result += self.log_partition(q, lengths=lengths) - self.score(marginals, q)
        return tf.cast(tf.maximum(result, 0.0), log_potentials.dtype)

    def relaxed_argmax(
        self,
        log_potentials: Tensor,
        *,
        temperature: Tensor | float,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Returns the marginals of log_potentials / temperature, `[..., *parts]`.

        The maximizer over the convex hull of Z of <m, log_potentials> + temperature *
        H(m) (the stochastic softmax trick of Paulus et al. 2020, with perturbed
        potentials); it tends to `argmax` as the temperature tends to 0.
        """
        return self.marginals(log_potentials / temperature, lengths=lengths)

    def distribution(
        self, log_potentials: Tensor, *, lengths: Tensor | None = None
    ) -> tfp.distributions.Distribution:
        """Returns p as a `tfp.distributions.Distribution` over `[*parts]` in {0, 1}.

        TensorFlow Probability is imported when this is first called.
        """
        from tfnes.structures import distribution

        return distribution.make(self, log_potentials, lengths=lengths)
