"""Gradient estimators: how to learn a model with a discrete structure inside.

* `estimator`: the base class.
* `update`: applies an estimate with any Keras optimizer.
"""

from tfnes.estimators.estimator import GradientEstimator

__all__ = ["GradientEstimator"]
