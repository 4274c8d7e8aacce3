"""Applies a gradient estimate with any Keras optimizer, or leaves all as it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tfnes.errors import ConfigurationError, NonFiniteError
from tfnes.models import replication
from tfnes.typing import GradientEstimate, Tensor


def check_learning_rate(optimizer: keras.optimizers.Optimizer) -> None:
    """Raises `ConfigurationError` if the optimizer's learning rate is not finite."""
    rate = float(tf.convert_to_tensor(optimizer.learning_rate))
    if not math.isfinite(rate):
        raise ConfigurationError(
            f"{type(optimizer).__name__}.learning_rate must be a finite number. "
            f"Received: {rate}."
        )


def apply_update(
    optimizer: keras.optimizers.Optimizer,
    estimate: GradientEstimate,
    *,
    weight: Tensor,
    reduced: bool,
) -> Tensor:
    """Applies `estimate` where it is finite; else variables and slots stay untouched.

    With several replicas the gradients are summed here, and the optimizer, which sums
    once more, gets the sum from the first replica and zeros from the others: so
    clipping acts on the sum. Rows of a look-up table that are not among
    `estimate.touched`, and the same rows of the optimizer's slots of that table, keep
    their values whatever the optimizer does (momentum, weight decay).

    Args:
      optimizer: a built optimizer.
      estimate: of this replica.
      weight: `[]`, number of real examples of this replica.
      reduced: whether the estimate is of the examples of all replicas already.

    Returns:
      `[]` bool, the same on all replicas: whether estimate and learning rate were
      finite, so that the update was made.
    """
    pairs = [
        (gradient, variable)
        for gradient, variable in zip(
            estimate.gradients, estimate.variables, strict=True
        )
        if gradient is not None
    ]
    finite = estimate.finite & tf.math.is_finite(
        tf.cast(tf.convert_to_tensor(optimizer.learning_rate), tf.float32)
    )
    if not pairs:
        return finite
    gradients, variables = map(list, zip(*pairs, strict=True))
    if not tf.distribute.has_strategy():

        def step():
            kept = _read_rows_to_keep(optimizer, estimate.touched)
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
            for variable, value in kept:
                variable.assign(value())
            return tf.constant(True)

        return tf.cond(finite, step, lambda: tf.constant(False))

    if replication.num_replicas() > 1:
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        if not reduced:
            gradients, finite = _sum_replicas(gradients, finite, weight=weight)
        first = tf.distribute.get_replica_context().replica_id_in_sync_group
        gradients = [
            tf.where(tf.equal(first, 0), gradient, tf.zeros_like(gradient))
            for gradient in gradients
        ]
    # A strategy cannot merge replicas within `tf.cond`, so the step is always taken,
    # with zeros where the estimate is not finite, and then taken back.
    gradients = [
        tf.where(finite, gradient, tf.zeros_like(gradient)) for gradient in gradients
    ]
    before = [
        (variable, tf.identity(tf.convert_to_tensor(variable)))
        for variable in [*variables, *optimizer.variables]
    ]
    kept = _read_rows_to_keep(optimizer, estimate.touched)
    optimizer.apply_gradients(zip(gradients, variables, strict=True))
    owners = [variable for variable, _ in before]
    _assign_together(owners, [value for _, value in before], when=~finite)
    owners = [variable for variable, _ in kept]
    _assign_together(owners, [value() for _, value in kept], when=finite)
    return finite


def check_finite(variables: Sequence[keras.Variable]) -> None:
    """Raises `NonFiniteError` if a number of the variables is NaN or infinite."""
    names = [
        variable.path
        for variable in variables
        if tf.as_dtype(variable.dtype).is_floating
        and not tf.reduce_all(tf.math.is_finite(tf.convert_to_tensor(variable)))
    ]
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise NonFiniteError(
            f"{', '.join(names[:5])}{more}: NaN or infinite before training. Expected "
            "finite weights. Start from others."
        )


def _sum_replicas(
    gradients: list[Tensor], finite: Tensor, *, weight: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Returns the gradient of the mean over the real examples of all replicas."""
    flags = [weight, tf.cast(finite, tf.float32)]
    total, good = replication.sum_in_order(flags)
    share = tf.math.divide_no_nan(weight, total)
    gradients = replication.sum_in_order(
        [gradient * tf.cast(share, gradient.dtype) for gradient in gradients]
    )
    return gradients, tf.equal(good, float(replication.num_replicas()))


def _assign_together(
    variables: Sequence[keras.Variable], values: Sequence[Tensor], *, when: Tensor
) -> None:
    """Assigns on all replicas the first replica's values, if `when`."""
    if not variables:
        return

    def merged(strategy, values, when):
        def first(value):
            return strategy.experimental_local_results(value)[0]

        for variable, value in zip(variables, values, strict=True):
            strategy.extended.update(
                variable.value,
                lambda v, new, use: v.assign(tf.where(use, new, v.read_value())),
                args=(first(value), first(when)),
                group=False,
            )

    context = tf.distribute.get_replica_context()
    context.merge_call(merged, args=(list(values), when))


def _read_rows_to_keep(
    optimizer: keras.optimizers.Optimizer,
    touched: Sequence[tuple[keras.Variable, Tensor]],
) -> list[tuple[keras.Variable, Callable[[], Tensor]]]:
    """Reads tables and their slots; returns what each shall hold after the update."""

    def after(variable: keras.Variable, ids: Tensor) -> Callable[[], Tensor]:
        old = tf.identity(tf.convert_to_tensor(variable))

        def value() -> Tensor:
            new = tf.gather(tf.convert_to_tensor(variable), ids)
            return tf.tensor_scatter_nd_update(old, ids[:, None], new)

        return value

    return [
        (variable, after(variable, ids))
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
