"""Where the noise of a population acts: the interface, and noise on the weights.

A `Perturbation` belongs to one batch and one update. It evaluates mirrored pairs, and
says what each evaluation contributes to the gradient once its fitness has a
coefficient. The estimator, which makes the coefficients, knows no more of it.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfnes import random
from tfnes.estimators.nes.fitness import Fitness
from tfnes.estimators.nes.noise import NoiseSource
from tfnes.estimators.nes.parameters import FlatParameters
from tfnes.estimators.nes.replicas import opaque
from tfnes.typing import Seed, Tensor

Contribution = Callable[[Tensor, Tensor], Any]
"""`(c+, c-) -> share`: what the two evaluations of a pair add to the total.

Both weight the noise w with its own sign: of an evaluation at mu - sigma w that has
the coefficient c, c- is -c. Noise on the weights gives (c+ + c-) w.
"""


class Perturbation(abc.ABC):
    """Noise on `variables` of one model, for one batch and one update.

    Attributes:
      variables: the perturbed variables, in the order of `gradients`.
      touched: `(table, ids)` of look-up tables; only these rows are perturbed.
    """

    variables: list[keras.Variable]
    touched: Sequence[tuple[keras.Variable, Tensor]] = ()

    @abc.abstractmethod
    def zeros(self) -> Any:
        """Returns a total, a nest of tensors, of no contributions."""

    @abc.abstractmethod
    def evaluate(self, pair: Tensor) -> tuple[Tensor, Contribution]:
        """Evaluates mu + sigma w and mu - sigma w of a pair.

        Args:
          pair: `[]` int32, keys the noise.

        Returns:
          The losses of each example, `[2, B]`, and the pair's contribution. It may be
          called with coefficients `[]` (one for the batch).
        """

    def evaluate_block(
        self, pairs: Sequence[Tensor]
    ) -> tuple[Tensor, Callable[[Tensor], Any]]:
        """Evaluates several pairs, whose contributions are wanted together.

        Args:
          pairs: P pairs.

        Returns:
          The losses `[2 P, B]`, both evaluations of a pair side by side, and the
          contribution as a function of coefficients `[P, 2]` or `[P, 2, B]`.
        """
        results = [self.evaluate(pair) for pair in pairs]

        def contribution(coefficients: Tensor) -> Any:
            shares = [
                share(coefficients[i, 0], coefficients[i, 1])
                for i, (_, share) in enumerate(results)
            ]
            return tf.nest.map_structure(lambda *parts: tf.add_n(parts), *shares)

        return tf.concat([losses for losses, _ in results], 0), contribution

    @abc.abstractmethod
    def gradients(self, total: Any) -> list[Tensor]:
        """Returns 1 / sigma times the sum of coefficients times noise, a variable each.

        Args:
          total: a sum of contributions, scaled by any number.
        """

    def adapt(self, finite: Tensor) -> None:  # noqa: B027
        """Moves the search distribution, if it is learned; after `gradients`.

        Args:
          finite: `[]` bool; False where the update is skipped.
        """


class WeightNoise(Perturbation):
    """One normal for each parameter, the same for all examples: Algorithm 1.

    A pair evaluates k(mu + sigma w) and k(mu - sigma w), w ~ N(0, I) (Eq. 6 and its
    mirror image). With coefficients c+ and c- for them the pair adds

        (c+ + c-) sigma w

    to the total, and `gradients` divides that by sigma^2. For c+ = u+ / N and
    c- = -u- / N it is the sum of Algorithm 1.

    Args:
      fitness: what is evaluated.
      variables: the variables to perturb.
      source: draws the normals.
      seed: `[2]` int32 key of the update.
      sigma: standard deviation, `[]` or one for each entry of the flat vector.
    """

    def __init__(
        self,
        fitness: Fitness,
        variables: Sequence[keras.Variable],
        *,
        source: NoiseSource,
        seed: Seed,
        sigma: float | Tensor,
    ):
        touched = fitness.model.touched_rows(fitness.batch)
        self.parameters = FlatParameters(variables, touched)
        self.variables = self.parameters.variables
        self.touched = self.parameters.touched
        self._fitness = fitness
        self._source = source
        self._size = self.parameters.size
        noise_seed = random.fold_in(seed, int(random.Stream.PARAMETER_NOISE))
        self._prepared = source.prepare(self._size, seed=noise_seed)
        self._mean = self.parameters.values()
        self._sigma = opaque(tf.cast(sigma, self._mean.dtype))

    def zeros(self):
        return tf.zeros_like(self._mean)

    def step(self, pair: Tensor) -> Tensor:
        """Returns sigma w of a pair, flat."""
        draw = self._source.draw(self._prepared, pair, size=self._size)
        return tf.cast(draw, self._mean.dtype) * self._sigma

    def evaluate(self, pair):
        step = self.step(pair)
        losses = []
        for sign in (1, -1):
            with keras.StatelessScope(self.assignments(step, sign)):
                losses.append(self._fitness.each())
        return tf.stack(losses), lambda plus, minus: self.contribution(
            step, plus, minus
        )

    def assignments(
        self, step: Tensor, sign: int
    ) -> list[tuple[keras.Variable, Tensor]]:
        """Returns variables and values at mu + step, or mu - step for a sign of -1."""
        moved = self._mean + step if sign > 0 else self._mean - step
        return self.parameters.assignments(moved)

    def contribution(self, step: Tensor, plus: Tensor, minus: Tensor) -> Any:
        """Returns what a pair adds; of coefficients `[B]`, their sum's share."""
        coefficient = plus + minus
        if coefficient.shape.rank:
            coefficient = tf.reduce_sum(coefficient)
        return tf.cast(coefficient, step.dtype) * step

    def gradients(self, total):
        # Eq. 6 divides a sum of c w by sigma; `total` is one of c sigma w.
        return self.parameters.gradients(total / (self._sigma * self._sigma))
