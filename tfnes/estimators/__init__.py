"""Gradient estimators: how to learn a model with a discrete structure inside.

* `estimator`: the base class.
* `pathwise`: base of those that differentiate through a relaxed latent:
  `gumbel_softmax`, `stochastic_softmax`, `perturb_and_parse`, `sparsemap`.
* `score_function`: base of `reinforce` and `nvil`; `control_variates`: their baselines.
* `evaluation`: what estimators share: latent noise, means, finiteness.
* `exact`: the exact gradient, by enumeration of the latents.
* `nes`: Natural Evolution Strategies; the model is only evaluated.
* `hybrid`: `nes` for the encoder, back-propagation for the decoder.
* `supervised`: back-propagation of the model's supervised loss.
"""

from tfnes.estimators.control_variates import (
    BatchMean,
    ControlVariate,
    ExponentialMovingAverage,
    LeaveOneOut,
)
from tfnes.estimators.estimator import GradientEstimator
from tfnes.estimators.exact import Exact
from tfnes.estimators.gumbel_softmax import AnnealedTemperature, GumbelSoftmax
from tfnes.estimators.hybrid import HybridNES
from tfnes.estimators.nes import (
    NES,
    CenteredRanks,
    FreshNormals,
    FullCovariance,
    LayerSigma,
    LogRanks,
    NoiseTable,
    SearchDistribution,
    SeparableSigma,
    ZScore,
    perturbation_rule,
)
from tfnes.estimators.nvil import NVIL
from tfnes.estimators.pathwise import PathwiseEstimator
from tfnes.estimators.perturb_and_parse import PerturbAndParse
from tfnes.estimators.reinforce import REINFORCE
from tfnes.estimators.score_function import ScoreFunctionEstimator
from tfnes.estimators.sparsemap import SparseMAP
from tfnes.estimators.stochastic_softmax import StochasticSoftmax
from tfnes.estimators.supervised import Supervised

__all__ = [
    "NES",
    "NVIL",
    "REINFORCE",
    "AnnealedTemperature",
    "BatchMean",
    "CenteredRanks",
    "ControlVariate",
    "Exact",
    "ExponentialMovingAverage",
    "FreshNormals",
    "FullCovariance",
    "GradientEstimator",
    "GumbelSoftmax",
    "HybridNES",
    "LayerSigma",
    "LeaveOneOut",
    "LogRanks",
    "NoiseTable",
    "PathwiseEstimator",
    "PerturbAndParse",
    "ScoreFunctionEstimator",
    "SearchDistribution",
    "SeparableSigma",
    "SparseMAP",
    "StochasticSoftmax",
    "Supervised",
    "ZScore",
    "perturbation_rule",
]
