"""Applies a gradient estimate with any Keras optimizer, or leaves all as it was."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfnes.typing import GradientEstimate


def apply_update(
    optimizer: keras.optimizers.Optimizer, estimate: GradientEstimate
) -> None:
    """Applies `estimate` where it is finite; else variables and slots stay untouched."""
    pairs = [
        (gradient, variable)
        for gradient, variable in zip(
            estimate.gradients, estimate.variables, strict=True
        )
        if gradient is not None
    ]
    optimizer.build([variable for _, variable in pairs]) if not optimizer.built else None

    def step():
        optimizer.apply_gradients(pairs)
        return tf.constant(True)

    tf.cond(estimate.finite, step, lambda: tf.constant(False))
