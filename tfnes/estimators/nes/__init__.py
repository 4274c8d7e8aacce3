"""Natural Evolution Strategies: the model is only evaluated, never differentiated.

* `nes`: the estimator (Algorithm 1), one pass over mirrored pairs; `arguments`: the
  checks of its arguments; `memory`: what an update takes, told before it runs;
  `update_setup`: what an update evaluates, and with which noise.
* `fitness`: the loss of each example, with the latent noise fixed.
* `perturbation`: where the noise acts; noise on the weights.
* `search_distribution`: sigma that is learned; `adaptive_noise`: noise with it.
* `activation_noise`: noise on the outputs of layers, for each example or the batch.
* `layer_call`, `layer_noise`, `records`: what a layer's noise is, and its share of the
  gradient.
* `rules`: how each class of layers is evaluated with noise; `rules_keras`,
  `rules_recurrent`, `rules_parser` and `rules_nri` have those of the library.
* `potential_noise`: noise on the log-potentials.
* `members`, `examples`: an update from losses of batches, or of single examples.
* `parameters`: the perturbed parameters as one flat vector.
* `noise`: where the Gaussian noise comes from.
* `population`: the loop over the pairs, summed in a fixed order.
* `fitness_shaping`: what is made of the population's losses.
* `smoothing`: the smoothed loss g beside the loss k.
* `population_losses`: the losses of a population without an update, to look at.
* `replicas`: the population over the replicas of a `tf.distribute` strategy.
"""

from tfnes.estimators.nes.fitness_shaping import (
    CenteredRanks,
    FitnessShaping,
    Identity,
    LogRanks,
    ZScore,
)
from tfnes.estimators.nes.layer_noise import LayerNoise
from tfnes.estimators.nes.nes import NES
from tfnes.estimators.nes.noise import FreshNormals, NoiseSource, NoiseTable
from tfnes.estimators.nes.rules import perturbation_rule
from tfnes.estimators.nes.search_distribution import (
    FullCovariance,
    LayerSigma,
    SearchDistribution,
    SeparableSigma,
)

__all__ = [
    "NES",
    "CenteredRanks",
    "FitnessShaping",
    "FreshNormals",
    "FullCovariance",
    "Identity",
    "LayerNoise",
    "LayerSigma",
    "LogRanks",
    "NoiseSource",
    "NoiseTable",
    "SearchDistribution",
    "SeparableSigma",
    "ZScore",
    "perturbation_rule",
]
