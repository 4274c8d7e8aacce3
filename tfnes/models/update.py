"""Applies a gradient estimate with any Keras optimizer, or leaves all as it was."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfnes.typing import GradientEstimate, Tensor


def apply_update(
    optimizer: keras.optimizers.Optimizer,
    estimate: GradientEstimate,
    *,
    weight: Tensor,
    reduced: bool,
) -> None:
    """Applies `estimate` where it is finite; else variables and slots stay untouched.

    The optimizer runs once for all replicas, on gradients that are already summed,
    so clipping acts on the sum. Rows of a look-up table that are not among
    `estimate.touched`, and the same rows of the optimizer's slots of that table, keep
    their values whatever the optimizer does (momentum, weight decay).

    Args:
      optimizer: a built optimizer.
      estimate: of this replica.
      weight: `[]`, number of real examples of this replica.
      reduced: whether the estimate is of the examples of all replicas already.
    """
    pairs = [
        (gradient, variable)
        for gradient, variable in zip(
            estimate.gradients, estimate.variables, strict=True
        )
        if gradient is not None
    ]
    if not pairs:
        return
    gradients, variables = map(list, zip(*pairs, strict=True))
    finite = estimate.finite
    replica = tf.distribute.get_replica_context()
    if replica.num_replicas_in_sync > 1 and not reduced:
        total, bad = replica.all_reduce(
            "sum", [weight, tf.cast(tf.logical_not(finite), tf.float32)]
        )
        share = tf.math.divide_no_nan(weight, total)
        gradients = [
            tf.convert_to_tensor(g) * tf.cast(share, g.dtype) for g in gradients
        ]
        gradients = replica.all_reduce("sum", gradients)
        finite = tf.equal(bad, 0.0)
    tables = [table for table, _ in estimate.touched]
    rows = [ids for _, ids in estimate.touched]

    def merged(strategy, gradients, finite, rows):
        def local(value):
            return strategy.experimental_local_results(value)[0]

        gradients = [local(gradient) for gradient in gradients]
        touched = list(zip(tables, map(local, rows), strict=True))

        def step():
            kept = _read_rows_to_keep(optimizer, touched)
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
            for variable, ids, old in kept:
                new = tf.gather(variable, ids)
                variable.assign(tf.tensor_scatter_nd_update(old, ids[:, None], new))
            return tf.constant(True)

        return tf.cond(local(finite), step, lambda: tf.constant(False))

    replica.merge_call(merged, args=(gradients, finite, rows))


def _read_rows_to_keep(
    optimizer: keras.optimizers.Optimizer,
    touched: Sequence[tuple[keras.Variable, Tensor]],
) -> list[tuple[keras.Variable, Tensor, Tensor]]:
    """Returns `(variable, ids, value)` of each table and of its slots."""
    return [
        (variable, ids, tf.identity(tf.convert_to_tensor(variable)))
        for table, ids in touched
        for variable in [table, *slots_of(optimizer, table)]
    ]


def slots_of(
    optimizer: keras.optimizers.Optimizer, variable: keras.Variable
) -> list[keras.Variable]:
    """Returns the optimizer's variables that belong to `variable` and have its shape.

    Keras names a slot after its variable's path; of several paths that fit, the
    longest is the owner.
    """

    def prefix(owner: keras.Variable) -> str:
        return owner.path.replace("/", "_") + "_"

    owners = list(getattr(optimizer, "_trainable_variables", [variable]))

    def owner_of(slot: keras.Variable) -> keras.Variable | None:
        fits = [
            owner
            for owner in owners
            if owner.shape == slot.shape and slot.name.startswith(prefix(owner))
        ]
        return max(fits, key=lambda owner: len(prefix(owner)), default=None)

    return [slot for slot in optimizer.variables if owner_of(slot) is variable]
