"""Checks for estimators, models and structures of one's own.

* `estimators`: `check_estimator` compares with the exact gradient of a small model.
* `models`: `check_model`, a conformance suite for models.
* `structures`: `check_structure`, everything that a structure promises.
* `structure_laws`: its part for structures with a law.
* `exact_laws`: the laws of a latent, by enumeration.
* `moments`: `update_moments`, mean and variance of an estimator over many updates.
* `small_vae`: the model of `check_estimator`.
"""

from tfnes.testing.estimators import EstimatorReport, check_estimator
from tfnes.testing.models import check_model
from tfnes.testing.moments import update_moments
from tfnes.testing.structures import check_structure

__all__ = [
    "EstimatorReport",
    "check_estimator",
    "check_model",
    "check_structure",
    "update_moments",
]
