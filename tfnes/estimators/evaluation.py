"""What estimators share: latent noise, means over real examples, finite gradients.

Under `tf.distribute` these functions run in a replica: an estimator returns the mean
over the real examples of its own replica, and the model weights the replicas by their
number of real examples before it sums (Keras optimizers sum, they do not average).
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from tfnes import random
from tfnes.models import replication
from tfnes.structures.dependency_tree import DependencyTree
from tfnes.structures.structure import HasMarginals, Structure
from tfnes.typing import Batch, Seed, Tensor


def example_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Returns the mean of `values` `[B]` over the examples of weight 1, `[]`.

    What padding (weight 0) holds is ignored, NaN too; without real examples it is 0.
    """
    weights = tf.cast(weights, values.dtype)
    real = tf.where(weights > 0, values, tf.zeros_like(values))
    return tf.math.divide_no_nan(tf.reduce_sum(real * weights), tf.reduce_sum(weights))


def sum_over_replicas(*values: Tensor) -> list[Tensor]:
    """Returns each of `values` summed over all replicas; as it is outside of them."""
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return list(values)
    # Collectives need a tensor with a device, see `replication.gather`.
    return replica.all_reduce("sum", [tf.identity(value) for value in values])


def example_index(batch: Batch, size: Tensor) -> Tensor:
    """Returns the `[B]` index that keys the noise of each example.

    `batch["index"]` where it is there; else the position in the batch of all replicas.
    """
    if "index" in batch:
        return batch["index"]
    return replication.positions(size)


def latent_seed(seed: Seed) -> Seed:
    """Returns the key of the latent noise of the update with `seed`."""
    return random.fold_in(seed, int(random.Stream.LATENT_NOISE))


def latent_noise(
    structure: Structure,
    batch: Batch,
    log_potentials: Tensor,
    *,
    seed: Seed,
    num_samples: int = 1,
) -> Tensor:
    """Returns Gumbel noise for `num_samples` draws of each example.

    With one draw it is the noise of `StructuredVAE.elbo` with the same `seed`.

    Args:
      structure: whose parts are perturbed.
      batch: named tensors; `index` keys the draws.
      log_potentials: `[B * S, *parts]`, the S copies of an example side by side.
      seed: `[2]` int32 key of the update.
      num_samples: S.
    """
    index = example_index(batch, tf.shape(log_potentials)[0] // num_samples)
    if num_samples > 1:
        copies = tf.range(num_samples, dtype=index.dtype)
        index = tf.reshape(index[:, None] * num_samples + copies, [-1])
    return structure.noise(log_potentials, seed=latent_seed(seed), index=index)


def repeat_examples(batch: Batch, num_samples: int) -> dict[str, Tensor]:
    """Returns the batch with each example `num_samples` times, copies side by side."""
    if num_samples == 1:
        return dict(batch)
    return {key: tf.repeat(value, num_samples, axis=0) for key, value in batch.items()}


def possible_parts(
    structure: Structure, log_potentials: Tensor, *, lengths: Tensor | None
) -> Tensor:
    """Returns which parts some structure with a finite score may hold, bool.

    Padding, self-loops and arcs into the root are in no structure. A structure may tell
    by a method `possible_parts(log_potentials, lengths=...)`, or by its marginals;
    where it has neither, only forbidden parts (-inf) are excluded.
    """
    mask = tf.math.is_finite(log_potentials)
    if hasattr(structure, "possible_parts"):
        mask &= structure.possible_parts(log_potentials, lengths=lengths)
    elif isinstance(structure, DependencyTree):
        mask &= _possible_arcs(log_potentials, lengths)
    elif (lengths is not None or structure.parts_rank > 1) and isinstance(
        structure, HasMarginals
    ):
        uniform = tf.zeros_like(log_potentials)
        mask &= structure.marginals(uniform, lengths=lengths) > 0
    return mask


def _possible_arcs(log_potentials: Tensor, lengths: Tensor | None) -> Tensor:
    """Returns `[..., n + 1, n + 1]` bool: from any node to another word."""
    node = tf.range(tf.shape(log_potentials)[-1])
    head, modifier = node[:, None], node[None, :]
    possible = (modifier > 0) & (head != modifier)
    if lengths is None:
        return possible
    last = lengths[..., None, None]
    return possible & (head <= last) & (modifier <= last)


def all_finite(loss: Tensor, gradients: Sequence) -> Tensor:
    """Returns whether the loss and every entry of every gradient are finite, `[]`."""
    finite = tf.math.is_finite(loss)
    for gradient in gradients:
        if gradient is not None:
            values = getattr(gradient, "values", gradient)
            finite &= tf.reduce_all(tf.math.is_finite(values))
    return finite
