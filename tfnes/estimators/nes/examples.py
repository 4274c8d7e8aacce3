"""One update from the losses of single examples, each with noise of its own.

Eq. 6 holds for each example separately: the loss is a mean over examples, so every
example may have its own perturbation, and a batch tries B directions in every
evaluation. Nothing is gathered: on several replicas it is plain data parallelism.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfnes.estimators.evaluation import sum_over_replicas
from tfnes.estimators.nes.fitness import Fitness
from tfnes.estimators.nes.members import Outcome
from tfnes.estimators.nes.perturbation import Perturbation
from tfnes.typing import Tensor

_MOST_PAIRS = 4


def blocks_of(num_pairs: int) -> list[tuple[int, int, int]]:
    """Returns `(first pair, pairs of a block, blocks)` of runs of equal blocks.

    A block has at most four pairs, and two at least unless there is one pair only:
    its pairs are each other's baseline.

    Example:

        >>> from tfnes.estimators.nes.examples import blocks_of
        >>> blocks_of(5)
        [(0, 3, 1), (3, 2, 1)]
    """
    count = -(-num_pairs // _MOST_PAIRS)
    size, larger = divmod(num_pairs, count)
    runs = [(0, size + 1, larger), (larger * (size + 1), size, count - larger)]
    return [run for run in runs if run[2]]


def run_examples(
    perturbation: Perturbation,
    fitness: Fitness,
    *,
    center: Tensor,
    population_size: int,
    standardize: bool,
    leave_one_out: bool,
) -> Outcome:
    """Runs the population of one update, block by block of pairs.

    With loss u_bi of example b in evaluation i, and G_bi what that evaluation says of
    the noise (the mean of w given what the layers saw), the gradient is Eq. 6 for each
    example, and the mean over examples:

        1 / (B N sigma s) sum over b, i of (u_bi - baseline) G_bi

    The baseline is the mean of the pair, or of the other pairs of the block; s is one
    deviation, that of u_bi around the mean of its example, over all examples.

    Args:
      perturbation: evaluates the pairs.
      fitness: gives the weights of the examples.
      center: `[B]`, the losses at the mean.
      population_size: N.
      standardize: whether to divide by the deviation.
      leave_one_out: which baseline.

    Returns:
      The outcome; its gradients are those of the mean over this replica's examples.
    """
    weights = fitness.weights

    def block(pairs: list[Tensor], totals: tuple) -> tuple:
        losses, contribution = perturbation.evaluate_block(pairs)
        losses = tf.reshape(losses, [len(pairs), 2, -1])
        keep = tf.reduce_all(tf.math.is_finite(losses), 1, keepdims=True)
        offsets = tf.where(keep, losses - center, 0.0)
        keep = tf.where(keep, weights, 0.0)
        coefficients = _less_baseline(offsets, keep, leave_one_out) * keep
        coefficients *= tf.constant([[1.0], [-1.0]])
        shares = (
            contribution(coefficients),
            tf.reduce_sum(offsets, [0, 1]),
            tf.reduce_sum(tf.square(offsets), [0, 1]),
            2 * tf.reduce_sum(keep, [0, 1]),
        )
        return tf.nest.map_structure(tf.add, totals, shares)

    nothing = tf.zeros_like(weights)
    totals = (perturbation.zeros(), nothing, nothing, nothing)
    for first, size, count in blocks_of(population_size // 2):
        totals = _run_blocks(block, totals, first=first, size=size, count=count)
    total, offset, square, kept = totals

    spread = tf.reduce_sum(square - tf.math.divide_no_nan(tf.square(offset), kept))
    evaluations = tf.reduce_sum(kept)
    wanted = population_size * tf.reduce_sum(weights)
    all_spread, all_kept = sum_over_replicas(tf.maximum(spread, 0.0), evaluations)
    deviation = tf.sqrt(tf.math.divide_no_nan(all_spread, all_kept))
    scale = tf.math.divide_no_nan(1.0, evaluations)
    if standardize:
        scale = tf.math.divide_no_nan(scale, deviation)
    total = tf.nest.map_structure(lambda t: t * tf.cast(scale, t.dtype), total)
    losses = tf.reduce_sum(offset + kept * center)
    return Outcome(
        gradients=perturbation.gradients(total),
        mean=tf.math.divide_no_nan(losses, evaluations),
        deviation=deviation,
        dropped=1 - tf.math.divide_no_nan(evaluations, wanted),
    )


def _less_baseline(offsets: Tensor, keep: Tensor, leave_one_out: bool) -> Tensor:
    """Returns `[P, 2, B]` losses less their baseline."""
    own = tf.reduce_sum(offsets, 1, keepdims=True)
    if not leave_one_out:
        return offsets - 0.5 * own
    count = 2 * (tf.reduce_sum(keep, 0, keepdims=True) - keep)
    others = tf.reduce_sum(own, 0, keepdims=True) - own
    return offsets - tf.math.divide_no_nan(others, count)


def _run_blocks(
    block: Callable[[list[Tensor], tuple], tuple],
    totals: tuple,
    *,
    first: int,
    size: int,
    count: int,
) -> Any:
    """Runs `count` blocks of `size` pairs, in a loop where there are several."""

    def pairs_of(number: Tensor) -> list[Tensor]:
        return [first + number * size + i for i in range(size)]

    if count == 1:
        return block(pairs_of(tf.constant(0)), totals)
    _, totals = tf.while_loop(
        lambda number, _: number < count,
        lambda number, totals: (number + 1, block(pairs_of(number), totals)),
        (tf.constant(0), totals),
        parallel_iterations=1,
    )
    return totals
