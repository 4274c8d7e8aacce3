"""Gumbel-softmax for one categorical latent, and its temperature's schedule."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfnes.checks import check_integer, check_real
from tfnes.errors import UnsupportedStructureError
from tfnes.estimators.pathwise import PathwiseEstimator
from tfnes.registration import register
from tfnes.structures.categorical import Categorical


@register("estimator")
class GumbelSoftmax(PathwiseEstimator):
    """The Gumbel-softmax (concrete) relaxation of a categorical latent.

        z = softmax((h_phi(x) + gamma) / t),    gamma ~ Gumbel(0).

    It is `StochasticSoftmax` on `Categorical`; for other structures use that one.

    Args:
      temperature: t > 0, or a schedule: `AnnealedTemperature()` is the one of Jang et
        al. that section B.4 uses.
      straight_through: decodes the hard sample, differentiates the relaxed one.

    Example:

        >>> import tfnes
        >>> tfnes.estimators.GumbelSoftmax(temperature=0.5).get_config()["temperature"]
        0.5

    References:
      Jang et al. 2017, "Categorical reparameterization with Gumbel-softmax", Eq. 2.
      Maddison et al. 2017, "The concrete distribution", Eq. 10.
    """

    def build(self, model):
        if not isinstance(model.structure, Categorical):
            raise UnsupportedStructureError(
                f"GumbelSoftmax needs the structure Categorical; the model has "
                f"{model.structure!r}. Use StochasticSoftmax, which is its "
                "generalization to structures with marginals."
            )

    def relax(self, model, log_potentials, noise, lengths, *, seed):
        temperature = tf.cast(self.current_temperature(model), noise.dtype)
        return model.structure.marginals(
            (log_potentials + noise) / temperature, lengths=lengths
        )


@register("schedule")
class AnnealedTemperature(keras.optimizers.schedules.LearningRateSchedule):
    """t = max(minimum, initial * exp(-rate * step)), evaluated every `interval` steps.

    Jang et al. 2017 anneal max(0.5, exp(-r t)) with r of 1e-5 or 1e-4 and update every
    500 or 1000 steps; the default here is the one of the unstructured experiments
    (section B.4). A rate of 0 keeps `initial`.

    Args:
      initial: t before the first update.
      rate: of the decay, per update.
      minimum: t never falls below it.
      interval: t is constant for so many updates.

    Raises:
      ConfigurationError: if an argument is out of its range.

    Example:

        >>> import tfnes
        >>> schedule = tfnes.estimators.AnnealedTemperature(rate=1e-4)
        >>> [round(float(schedule(step)), 3) for step in (999, 1000, 20000)]
        [1.0, 0.905, 0.5]
    """

    def __init__(
        self,
        initial: float = 1.0,
        *,
        rate: float = 1e-4,
        minimum: float = 0.5,
        interval: int = 1000,
    ):
        name = type(self).__name__
        self.minimum = check_real(f"{name}.minimum", minimum, above=0)
        self.initial = check_real(f"{name}.initial", initial, minimum=self.minimum)
        self.rate = check_real(f"{name}.rate", rate, minimum=0)
        self.interval = check_integer(f"{name}.interval", interval, minimum=1)

    def __call__(self, step):
        step = tf.cast(step, tf.int64)
        since = tf.cast(step - step % self.interval, tf.float32)
        return tf.maximum(self.initial * tf.exp(-self.rate * since), self.minimum)

    def get_config(self):
        return {
            "initial": self.initial,
            "rate": self.rate,
            "minimum": self.minimum,
            "interval": self.interval,
        }
