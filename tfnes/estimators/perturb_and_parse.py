"""Differentiable perturb-and-parse, the "DPP" of the paper."""

from __future__ import annotations

import tensorflow as tf

from tfnes.estimators.pathwise import PathwiseEstimator
from tfnes.registration import register
from tfnes.structures.structure import HasRelaxedArgmax, require_ability


@register("estimator")
class PerturbAndParse(PathwiseEstimator):
    """Differentiable perturb-and-parse (DPP in the paper's Table 2).

        z = relaxed_argmax((h_phi(x) + gamma), temperature t),

    where every local argmax of the structure's solver has become a softmax. For
    projective `DependencyTree`s it is the surrogate of Eisner's algorithm: spans carry
    the softmax-weighted mean of their splits' scores (not their logsumexp). "DPP" means
    determinantal point processes elsewhere, hence the name here.

    Args:
      temperature: t > 0 of the local softmaxes, or a schedule; the authors use 1.
      straight_through: decodes the hard sample, differentiates the relaxed one.

    Example:

        >>> import tfnes
        >>> tfnes.estimators.PerturbAndParse().get_config()
        {'temperature': 1.0, 'straight_through': False}

    References:
      Corro & Titov 2019, "Differentiable perturb-and-parse: semi-supervised parsing
      with a structured variational autoencoder", section 5; Berliner et al. 2022,
      section 4.2.
    """

    def build(self, model):
        require_ability(model.structure, HasRelaxedArgmax, user="PerturbAndParse")

    def relax(self, model, log_potentials, noise, lengths, *, seed):
        temperature = tf.cast(self.current_temperature(model), noise.dtype)
        return model.structure.relaxed_argmax(
            log_potentials + noise, temperature=temperature, lengths=lengths
        )
