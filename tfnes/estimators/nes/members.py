"""One update from losses of whole batches: every member is one number."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from tfnes.estimators.nes import fitness_shaping as shapings
from tfnes.estimators.nes.fitness import Fitness
from tfnes.estimators.nes.fitness_shaping import FitnessShaping
from tfnes.estimators.nes.perturbation import Perturbation, WeightNoise
from tfnes.estimators.nes.population import Population
from tfnes.typing import Tensor


class Outcome(NamedTuple):
    """What a population has found.

    Attributes:
      gradients: one for each perturbed variable.
      mean: `[]`, of all losses.
      deviation: `[]`, of the losses: what they are divided by.
      dropped: `[]`, the share of pairs with a loss that is not finite.
    """

    gradients: list[Tensor]
    mean: Tensor
    deviation: Tensor
    dropped: Tensor


def run_members(
    perturbation: Perturbation,
    fitness: Fitness,
    *,
    center: Tensor,
    population: Population,
    population_size: int,
    shaping: FitnessShaping,
    leave_one_out: bool,
) -> Outcome:
    """Runs the population of one update in one pass over the pairs.

    With noise on the weights: sum over pairs of (u+ - u-) w, times 1 / N, and times
    1 / std(u) for z-scores (Algorithm 1; `gradients` divides by sigma). N counts the
    evaluations of the pairs that were kept. A shaping that is not linear in u takes a
    second pass, in which the noise is drawn again from its key.

    Where noise is given what the layers see, the two evaluations of a pair have each
    their own estimate G+, G- of it, and losses count from a baseline b,

        (u+ - b) G+ - (u- - b) G-,

    the pair's mean, or the mean T of the other pairs, which is independent of w. All
    sums over pairs that the latter needs can be formed before T is known. With noise
    on the weights G+ = G-, and b cancels.

    Args:
      perturbation: evaluates the pairs.
      fitness: gives the mean over examples.
      center: `[]`, the loss at the mean.
      population: the loop over the pairs.
      population_size: N.
      shaping: what is made of the losses.
      leave_one_out: the baseline is the mean of the other pairs.
    """
    linear = shaping.linear
    others = max(population_size - 2, 1)

    def one_pair(pair: Tensor, total: Any) -> tuple[Tensor, Any]:
        each, contribution = perturbation.evaluate(pair)
        losses = tf.stack([fitness.mean(each[0]), fitness.mean(each[1])])
        if not linear:
            return losses, total
        plus, minus = tf.unstack(_finite_or(losses, center) - center)
        if leave_one_out:
            first, second = total
            own = (plus + minus) / others
            share = contribution(plus + own, -minus - own)
            # A pair that is dropped takes no part.
            unit = tf.cast(tf.reduce_all(tf.math.is_finite(losses)), tf.float32)
            total = (_add(first, share), _add(second, contribution(unit, -unit)))
        else:
            half = 0.5 * (plus - minus)
            total = _add(total, contribution(half, half))
        return losses, total

    zeros = perturbation.zeros()
    like = (zeros, zeros) if leave_one_out else zeros
    losses, total = population.run(one_pair, like=like if linear else tf.zeros([1]))
    keep = tf.reduce_all(tf.math.is_finite(losses), axis=1)
    losses = tf.where(keep[:, None], losses, 0.0)
    kept = tf.reduce_sum(tf.cast(keep, tf.float32))
    scale = tf.math.divide_no_nan(0.5, kept)  # 1 / N
    if not linear:
        shaped = shaping.utilities(losses, keep)
        assert isinstance(perturbation, WeightNoise)

        def again(pair: Tensor, total: Any) -> tuple[Tensor, Any]:
            plus, minus = tf.unstack(shaped[pair])
            share = perturbation.contribution(perturbation.step(pair), plus, -minus)
            return tf.zeros([2]), _add(total, share)

        total = population.run(again, like=zeros)[1]
    else:
        scale *= shaping.scale(losses, keep)
        if leave_one_out:
            offsets = tf.where(keep[:, None], losses - center, 0.0)
            baseline = tf.reduce_sum(offsets) / others
            first, second = total
            total = tf.nest.map_structure(
                lambda a, b: a - tf.cast(baseline, b.dtype) * b, first, second
            )
    total = tf.nest.map_structure(lambda t: t * tf.cast(scale, t.dtype), total)
    mean, deviation = shapings.moments(losses, keep)
    return Outcome(
        gradients=perturbation.gradients(total),
        mean=mean,
        deviation=deviation,
        dropped=1 - tf.reduce_mean(tf.cast(keep, tf.float32)),
    )


def _finite_or(losses: Tensor, center: Tensor) -> Tensor:
    """Returns the losses of a pair, both `center` where one is not finite."""
    finite = tf.reduce_all(tf.math.is_finite(losses))
    return tf.where(finite, losses, center)


def _add(total: Any, more: Any) -> Any:
    return tf.nest.map_structure(tf.add, total, more)
