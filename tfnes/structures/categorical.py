"""One of K categories: the unstructured latent."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfnes import random, registration
from tfnes.structures.inference import ExactInference
from tfnes.structures.structure import Structure
from tfnes.typing import Seed, Tensor


@registration.register("structure")
class Categorical(ExactInference, Structure):
    """One-hot vectors: z picks one of K categories, `[..., K]`.

    `lengths` counts the real categories of each example. `perturb_and_map` samples
    exactly from softmax(log_potentials) (the Gumbel-max trick). Ties go to the lowest
    index. Every method costs O(K); there are K categories to count.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> structure = tfnes.structures.Categorical()
        >>> structure.argmax(tf.constant([0.1, 2.0, -1.0])).numpy()
        array([0., 1., 0.], dtype=float32)

    References:
      Gumbel (1954), "Statistical theory of extreme values and some practical
      applications" (the Gumbel-max trick); Maddison, Tarlow & Minka (2014), "A*
      sampling", section 2.
    """

    def argmax(self, log_potentials, *, lengths=None):
        log_potentials = tf.convert_to_tensor(log_potentials)
        scores = _forbid_padding(log_potentials, lengths)
        # NaN compares false: it counts as forbidden, alike on every device.
        scores = tf.where(scores > scores.dtype.min, scores, scores.dtype.min)
        depth = tf.shape(scores)[-1]
        latent = tf.one_hot(tf.argmax(scores, axis=-1), depth, dtype=scores.dtype)
        if lengths is not None:
            latent = tf.where(lengths[..., None] > 0, latent, 0.0)
        return tf.ensure_shape(latent, log_potentials.shape)

    def log_count(self, log_potentials, *, lengths=None):
        log_potentials = tf.convert_to_tensor(log_potentials)
        shape = tf.shape(log_potentials)
        if lengths is None:
            lengths = tf.fill(shape[:-1], shape[-1])
        return tf.math.log(tf.cast(tf.maximum(lengths, 1), log_potentials.dtype))

    def contains(self, latent, *, lengths=None):
        latent = tf.convert_to_tensor(latent)
        binary = tf.reduce_all((latent == 0) | (latent == 1), axis=-1)
        total = tf.reduce_sum(latent, axis=-1)
        if lengths is None:
            return binary & (total == min(1, 1 if latent.shape[-1] != 0 else 0))
        real = _real(latent, lengths)
        inside = tf.reduce_all(real | (latent == 0), axis=-1)
        return binary & inside & (total == tf.cast(lengths > 0, latent.dtype))

    def log_partition(self, log_potentials: Tensor, *, lengths=None) -> Tensor:
        """Returns log sum over categories of exp(log_potentials), `[...]`."""
        return tf.reduce_logsumexp(_reference(log_potentials, lengths), axis=-1)

    def marginals(self, log_potentials: Tensor, *, lengths=None) -> Tensor:
        """Returns softmax(log_potentials), 0 in padding."""
        result = tf.nn.softmax(_reference(log_potentials, lengths), axis=-1)
        if lengths is None:
            return result
        return tf.where(_real(result, lengths), result, 0.0)

    def sample(
        self,
        log_potentials: Tensor,
        *,
        num_samples: int,
        seed: Seed,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Returns `[num_samples, ..., K]` exact samples by the Gumbel-max trick."""
        log_potentials = tf.convert_to_tensor(log_potentials)
        shape = tf.shape(log_potentials)
        # The draw is keyed by (example, sample, category), whatever the extents.
        noise = random.gumbel(
            tf.stack([tf.reduce_prod(shape[:-1]), num_samples, shape[-1]]),
            seed=seed,
            dtype=log_potentials.dtype,
        )
        noise = tf.reshape(
            tf.transpose(noise, [1, 0, 2]), tf.concat([[num_samples], shape], 0)
        )
        if lengths is not None:
            lengths = tf.broadcast_to(
                lengths, tf.concat([[num_samples], shape[:-1]], 0)
            )
        return self.argmax(log_potentials + noise, lengths=lengths)

    def enumerate(self, num_nodes: int) -> np.ndarray:
        """Returns the `[K, K]` one-hot vectors of K = `num_nodes` categories."""
        if num_nodes == 0:
            return np.zeros([1, 0], np.float32)
        return np.eye(num_nodes, dtype=np.float32)


def _real(log_potentials: Tensor, lengths: Tensor) -> Tensor:
    return tf.range(tf.shape(log_potentials)[-1]) < lengths[..., None]


def _forbid_padding(log_potentials: Tensor, lengths: Tensor | None) -> Tensor:
    if lengths is None:
        return log_potentials
    return tf.where(_real(log_potentials, lengths), log_potentials, -float("inf"))


def _reference(log_potentials: Tensor, lengths: Tensor | None) -> Tensor:
    """Returns masked potentials; an empty example becomes log Z = 0, not log 0."""
    log_potentials = tf.convert_to_tensor(log_potentials)
    if lengths is None:
        return log_potentials
    first = tf.range(tf.shape(log_potentials)[-1]) == 0
    scores = _forbid_padding(log_potentials, lengths)
    return tf.where(~first | (lengths[..., None] > 0), scores, 0.0)
