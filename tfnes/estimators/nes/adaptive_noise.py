"""Noise on the weights whose scale is learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfnes.estimators.nes.fitness import Fitness
from tfnes.estimators.nes.noise import NoiseSource
from tfnes.estimators.nes.perturbation import WeightNoise
from tfnes.estimators.nes.replicas import opaque
from tfnes.estimators.nes.search_distribution import SearchDistribution
from tfnes.typing import Seed


class AdaptiveNoise(WeightNoise):
    """A w on the parameters, A of a `SearchDistribution`; natural gradients of both.

    A pair's coefficients c+, c- weight w by c+ + c-, what is odd in w, and the
    statistic of A by c+ - c-, what is even in it: there the baseline of the losses
    does not cancel.

    Args:
      fitness: what is evaluated.
      variables: the variables to perturb.
      source: draws the normals.
      seed: `[2]` int32 key of the update.
      distribution: gives A, and has its state for these variables.
    """

    def __init__(
        self,
        fitness: Fitness,
        variables: Sequence[keras.Variable],
        *,
        source: NoiseSource,
        seed: Seed,
        distribution: SearchDistribution,
    ):
        super().__init__(fitness, variables, source=source, seed=seed, sigma=1.0)
        self._distribution = distribution
        self._spread: list[Any] = []

    def zeros(self):
        nothing = tf.zeros_like(self._mean)
        return nothing, [tf.zeros_like(s) for s in self._statistic(nothing)]

    def assignments(self, step, sign):
        moved = self._distribution.transform(step, self.parameters)
        return super().assignments(moved, sign)

    def contribution(self, step, plus, minus):
        even = tf.cast(plus - minus, step.dtype)
        share = [even * value for value in self._statistic(step)]
        return super().contribution(step, plus, minus), share

    def gradients(self, total):
        # Else constants of the two uses would be moved into how it was summed up.
        odd, self._spread = tf.nest.map_structure(opaque, total)
        return self.parameters.gradients(
            self._distribution.transform(odd, self.parameters)
        )

    def adapt(self, finite):
        self._distribution.adapt(self._spread, self.parameters, finite=finite)

    def _statistic(self, draw):
        return self._distribution.statistic(draw, self.parameters)
