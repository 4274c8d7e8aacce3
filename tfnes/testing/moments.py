"""Mean and variance of what an estimator returns, over many updates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfnes import random
from tfnes.estimators.estimator import GradientEstimator
from tfnes.typing import Batch

if TYPE_CHECKING:
    from tfnes.models.structured_vae import StructuredVAE


def update_moments(
    estimator: GradientEstimator,
    model: StructuredVAE,
    batch: Batch,
    *,
    num_updates: int,
    first: str = "loss",
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and variance of loss and gradient over `num_updates` estimates.

    The parameters stay as they are: only the keys of the estimates differ. All
    estimates are made in one graph, in memory of the order of the parameters. The
    standard error of the mean is `sqrt(variance / (num_updates - 1))`.

    Args:
      estimator: built for `model`.
      model: its `elbo_variables` are the coordinates, in their order.
      batch: named tensors, example axis first.
      num_updates: at least 2.
      first: the first coordinate: `"loss"`, or a metric of the estimator, by name.
      seed: of all keys.

    Returns:
      `[1 + d]` float64 each, `first` and then the d coordinates of the gradient; of a
      variable without one, zeros.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> from tfnes.testing import update_moments
        >>> model = tfnes.models.MLP(hidden_units=2, input_size=3, num_categories=2)
        >>> batch = {"image": tf.ones([4, 3])}
        >>> model.build(batch)
        >>> nes = tfnes.estimators.NES(population_size=4)
        >>> nes.build(model)
        >>> mean, variance = update_moments(nes, model, batch, num_updates=5)
        >>> mean.shape, variance.shape  # the loss and 29 parameters
        ((30,), (30,))
    """
    variables = list(model.elbo_variables)
    key = random.fold_in(random.make_seed(seed), 1)

    def one(update: tf.Tensor) -> tf.Tensor:
        estimate = estimator.estimate(model, batch, seed=random.fold_in(key, update))
        found = {
            id(variable): gradient
            for variable, gradient in zip(
                estimate.variables, estimate.gradients, strict=True
            )
            if gradient is not None
        }
        number = estimate.loss if first == "loss" else estimate.metrics[first]
        pieces = [tf.reshape(tf.cast(number, tf.float64), [1])]
        for variable in variables:
            gradient = found.get(id(variable), tf.zeros(variable.shape))
            flat = tf.reshape(tf.convert_to_tensor(gradient), [-1])
            pieces.append(tf.cast(flat, tf.float64))
        return tf.concat(pieces, 0)

    @tf.function(autograph=False)
    def run():
        size = 1 + sum(int(np.prod(variable.shape)) for variable in variables)
        zeros = tf.zeros([size], tf.float64)

        def body(update, total, squares):
            value = one(update)
            return update + 1, total + value, squares + tf.square(value)

        return tf.while_loop(
            lambda update, *_: update < num_updates,
            body,
            [tf.constant(0), zeros, zeros],
            parallel_iterations=1,
        )[1:]

    total, squares = (value.numpy() for value in run())
    mean = total / num_updates
    return mean, np.maximum(squares / num_updates - mean**2, 0)
