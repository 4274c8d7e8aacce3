"""What NES makes of the population's losses before it weights the noise.

Of N = 2 n losses u of n mirrored pairs, a shaping makes utilities s, and the gradient
is 1 / (N sigma) sum over pairs of (s+ - s-) w: Algorithm 1 with the two terms of a pair
in one, and with s in the place of u. A shaping that is linear in u needs one pass over
the pairs; others a second one, with the noise drawn again.
"""

from __future__ import annotations

import abc
from typing import Any

import tensorflow as tf

from tfnes import registration
from tfnes.checks import check_choice
from tfnes.typing import Tensor


class FitnessShaping(abc.ABC):
    """Turns losses of mirrored pairs into utilities, small where the loss is."""

    linear: bool = False
    """Whether `utilities` is u times `scale`, up to a shift."""

    @abc.abstractmethod
    def utilities(self, losses: Tensor, keep: Tensor) -> Tensor:
        """Returns `[n, 2]`, what stands for the losses; 0 where not kept.

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

    def utilities(self, losses, keep):
        mean, _ = moments(losses, keep)
        centered = tf.where(keep[:, None], losses - mean, 0.0)
        return centered * self.scale(losses, keep)


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

    def utilities(self, losses, keep):
        rank, count = _ranks(losses, keep)
        shaped = tf.math.divide_no_nan(rank, count - 1) - 0.5
        return tf.where(keep[:, None], shaped, 0.0)


@registration.register("shaping")
class LogRanks(FitnessShaping):
    """Utilities of the rank that favor the best: those of SNES, xNES and CMA-ES.

        s_k = 1 - N max(0, log(N/2 + 1) - log k) / sum of the same over all ranks

    for rank k = 1 (the least loss) to N; equal losses share their mean rank. The worse
    half is alike, so a search distribution that learns its sigma (`SearchDistribution`)
    widens on a slope and narrows around an optimum; by a linear shaping it narrows on
    any convex function.

    References:
      Wierstra et al. 2014, "Natural evolution strategies", section 3.1.
    """

    def utilities(self, losses, keep):
        rank, count = _ranks(losses, keep)
        weight = tf.nn.relu(tf.math.log(count / 2 + 1) - tf.math.log(rank + 1))
        weight = tf.where(keep[:, None], weight, 0.0)
        share = tf.math.divide_no_nan(weight, tf.reduce_sum(weight))
        return tf.where(keep[:, None], 1 - count * share, 0.0)


def _ranks(losses: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Returns ranks from 0, `[n, 2]`, and the number of kept losses, `[]`."""
    flat = tf.reshape(losses, [-1])
    kept = tf.repeat(keep, 2)
    # Dropped losses sort last, so they do not move the ranks of the others.
    flat = tf.where(kept, flat, tf.fill(tf.shape(flat), flat.dtype.max))
    order = tf.sort(flat)
    below = tf.searchsorted(order, flat, side="left")
    through = tf.searchsorted(order, flat, side="right")
    rank = tf.cast(below + through - 1, losses.dtype) / 2
    return tf.reshape(rank, [-1, 2]), tf.reduce_sum(tf.cast(kept, losses.dtype))


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
    named: dict[str, type] = {
        "z_score": ZScore,
        "identity": Identity,
        "centered_ranks": CenteredRanks,
        "log_ranks": LogRanks,
    }
    if isinstance(shaping, FitnessShaping):
        return shaping
    hint = "A FitnessShaping of your own does, too."
    return named[check_choice("NES.fitness_shaping", shaping, named, hint=hint)]()
