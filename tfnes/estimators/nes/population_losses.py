"""The losses of a population, without an update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from tfnes.estimators.nes.update_setup import set_up_update
from tfnes.typing import Batch, Seed, Tensor

if TYPE_CHECKING:
    from tfnes.estimators.nes.nes import NES
    from tfnes.models.structured_vae import StructuredVAE


def population_losses(
    estimator: NES,
    model: StructuredVAE,
    batch: Batch,
    *,
    num_pairs: int,
    seed: Seed,
    variables: Sequence[keras.Variable] | None = None,
) -> Tensor:
    """Returns what members of a population see: u_i of Algorithm 1, or each example's.

    The members are drawn as an update of `estimator` draws them. Nothing changes:
    neither parameters nor any other state of the model.

    Args:
      estimator: with `build` called.
      model: a built model; its parameters are the mean.
      batch: named tensors, example axis first.
      num_pairs: mirrored pairs P.
      seed: `[2]` int32 key.
      variables: what is perturbed; None: `model.elbo_variables`.

    Returns:
      `[P, 2]` where all examples share a member's noise, else `[P, 2, B]`.
    """
    variables = model.elbo_variables if variables is None else list(variables)
    # What members in training mode would write is dropped at the end of the scope.
    with keras.StatelessScope():
        fitness, perturbation = set_up_update(
            estimator, model, batch, variables, seed=seed
        )
        fitness.at_mean()

        def evaluate(pair: Tensor) -> Tensor:
            each, _ = perturbation.evaluate(pair)
            if estimator.granularity == "example":
                return each
            return tf.stack([fitness.mean(each[0]), fitness.mean(each[1])])

        return tf.map_fn(
            evaluate,
            tf.range(num_pairs),
            fn_output_signature=tf.float32,
            parallel_iterations=1,
        )
