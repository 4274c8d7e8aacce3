"""What NES makes of the population's losses before it weights the noise.

Of N = 2 n losses u of n mirrored pairs, a shaping gives the coefficient c of each pair,
and the gradient is 1 / (N sigma) sum over pairs of c w. A shaping that is linear in u
needs one pass over the pairs; others a second one, with the noise drawn again.
"""

from __future__ import annotations

import abc
from typing import Any

import tensorflow as tf

from tfnes import registration
from tfnes.errors import ConfigurationError
from tfnes.typing import Tensor


class FitnessShaping(abc.ABC):
    """Turns losses of mirrored pairs into coefficients of their noise."""

    linear: bool = False
    """Whether `coefficients` is (u+ - u-) times `scale`."""

    @abc.abstractmethod
    def coefficients(self, losses: Tensor, keep: Tensor) -> Tensor:
        """Returns `[n]`, what weights the noise of each pair.

        Args:
          losses: `[n, 2]`, u+ and u- of each pair; 0 where not kept.
          keep: `[n]` bool, pairs whose two losses are finite.
        """

    def get_config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> FitnessShaping:
        return cls(**config)


class LinearShaping(FitnessShaping):
    """A shaping that multiplies all losses by one number, and may shift them."""

    linear = True

    @abc.abstractmethod
    def scale(self, losses: Tensor, keep: Tensor) -> Tensor:
        """Returns the number, `[]`."""

    def coefficients(self, losses, keep):
        return (losses[:, 0] - losses[:, 1]) * self.scale(losses, keep)


@registration.register("shaping")
class ZScore(LinearShaping):
    """(u - mean(u)) / std(u) over all kept losses: the paper's.

    Of a mirrored pair the mean cancels, so what is left is one factor, 1 / std(u).
    """

    def scale(self, losses, keep):
        return tf.math.divide_no_nan(1.0, moments(losses, keep)[1])


@registration.register("shaping")
class Identity(LinearShaping):
    """u itself: the plain estimator of Eq. 6."""

    def scale(self, losses, keep):
        del keep
        return tf.ones([], losses.dtype)


@registration.register("shaping")
class CenteredRanks(FitnessShaping):
    """Ranks of u, spread evenly over [-1/2, 1/2]; equal losses share their mean rank.

    Invariant to any increasing function of the loss (Salimans et al. 2017).
    """

    def coefficients(self, losses, keep):
        flat = tf.reshape(losses, [-1])
        kept = tf.repeat(keep, 2)
        # Dropped losses sort last, so they do not move the ranks of the others.
        flat = tf.where(kept, flat, tf.fill(tf.shape(flat), flat.dtype.max))
        order = tf.sort(flat)
        below = tf.searchsorted(order, flat, side="left")
        through = tf.searchsorted(order, flat, side="right")
        rank = tf.cast(below + through - 1, losses.dtype) / 2
        last = tf.reduce_sum(tf.cast(kept, losses.dtype)) - 1
        shaped = tf.where(kept, tf.math.divide_no_nan(rank, last) - 0.5, 0.0)
        shaped = tf.reshape(shaped, [-1, 2])
        return shaped[:, 0] - shaped[:, 1]


def moments(losses: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and population standard deviation of the kept losses.

    The deviation is exactly 0 where all losses are equal, whatever rounding does to
    their mean, and both are 0 where none is kept.
    """
    keep = tf.cast(keep, losses.dtype)[:, None]
    count = 2 * tf.reduce_sum(keep)
    mean = tf.math.divide_no_nan(tf.reduce_sum(losses * keep), count)
    square = tf.reduce_sum(tf.square(losses - mean) * keep)
    deviation = tf.sqrt(tf.math.divide_no_nan(square, count))
    high = tf.reduce_max(tf.where(keep > 0, losses, losses.dtype.min))
    low = tf.reduce_min(tf.where(keep > 0, losses, losses.dtype.max))
    return mean, tf.where(high > low, deviation, 0.0)


def get(shaping: str | FitnessShaping) -> FitnessShaping:
    """Returns the shaping of a name or the object itself."""
    named = {"z_score": ZScore, "identity": Identity, "centered_ranks": CenteredRanks}
    if isinstance(shaping, FitnessShaping):
        return shaping
    if shaping in named:
        return named[shaping]()
    raise ConfigurationError(
        f"NES.fitness_shaping must be one of {sorted(named)} or a FitnessShaping. "
        f"Received: {shaping!r}."
    )
