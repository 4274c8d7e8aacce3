"""Stochastic softmax tricks: marginals of perturbed log-potentials."""

from __future__ import annotations

import tensorflow as tf

from tfnes.checks import check_optional, check_real
from tfnes.estimators.evaluation import possible_parts
from tfnes.estimators.pathwise import PathwiseEstimator, Temperature
from tfnes.registration import register
from tfnes.structures.structure import HasMarginals, require_ability


@register("estimator")
class StochasticSoftmax(PathwiseEstimator):
    """The stochastic softmax trick (SST) with the entropy of the exponential family.

        z = marginals((h_phi(x) + gamma) / t)
          = argmax over m in conv(Z) of <m, h + gamma> + t * H(m),

    with H(m) the entropy of the maximum-entropy law over Z whose mean is m. For
    `SpanningTree` these are the edge marginals of the matrix-tree theorem, for `Subset`
    the inclusion probabilities of a conditional Poisson law (soft top-k), for
    `Categorical` the Gumbel-softmax.

    Args:
      temperature: t > 0, or a schedule. It decides much (section 4.1's best was found
        by search): a soft latent that the decoder reads well may be far from any
        structure, which only the hard `loss` shows.
      straight_through: decodes the hard sample, differentiates the relaxed one.
      max_range: R; perturbed log-potentials, once divided by t, are raised to at least
        their largest minus R, so that marginals stay away from exact 0 and 1 (Paulus
        et al. use 15). No gradient goes to a part that was raised. None: no clipping.

    Raises:
      ConfigurationError: if `max_range` is not positive.

    Example:

        >>> import tfnes
        >>> estimator = tfnes.estimators.StochasticSoftmax(
        ...     temperature=0.5, max_range=15)
        >>> estimator.max_range
        15.0

    References:
      Paulus et al. 2020, "Gradient estimation with stochastic softmax tricks", Eq. 6
      and section 4; Berliner et al. 2022, Table 1.
    """

    def __init__(
        self,
        *,
        temperature: Temperature = 1.0,
        straight_through: bool = False,
        max_range: float | None = None,
    ):
        super().__init__(temperature=temperature, straight_through=straight_through)
        self.max_range = check_optional(
            "StochasticSoftmax.max_range",
            max_range,
            check_real,
            above=0,
            hint="Use None for no clipping.",
        )

    def build(self, model):
        require_ability(model.structure, HasMarginals, user="StochasticSoftmax")

    def relax(self, model, log_potentials, noise, lengths, *, seed):
        structure = model.structure
        temperature = tf.cast(self.current_temperature(model), noise.dtype)
        scaled = (log_potentials + noise) / temperature
        if self.max_range is not None:
            possible = tf.stop_gradient(
                possible_parts(structure, log_potentials, lengths=lengths)
            )
            axes = list(range(-structure.parts_rank, 0))
            largest = tf.reduce_max(
                tf.where(possible, scaled, scaled.dtype.min), axis=axes, keepdims=True
            )
            scaled = tf.where(
                possible, tf.maximum(scaled, largest - self.max_range), scaled
            )
        return structure.marginals(scaled, lengths=lengths)

    def get_config(self):
        return {**super().get_config(), "max_range": self.max_range}
