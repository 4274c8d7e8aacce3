"""Gradient estimators: how to learn a model with a discrete structure inside.

* `estimator`: the base class.
* `nes`: Natural Evolution Strategies; the model is only evaluated.
* `supervised`: back-propagation of the model's supervised loss.
"""

from tfnes.estimators.estimator import GradientEstimator
from tfnes.estimators.nes import NES, CenteredRanks, FreshNormals, NoiseTable, ZScore
from tfnes.estimators.supervised import Supervised

__all__ = [
    "NES",
    "CenteredRanks",
    "FreshNormals",
    "GradientEstimator",
    "NoiseTable",
    "Supervised",
    "ZScore",
]
