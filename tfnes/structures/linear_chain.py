"""Sequences of states: linear chains."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import tensorflow as tf

from tfnes import registration
from tfnes.checks import check_integer
from tfnes.solvers.viterbi import log_partition, marginals, sample, to_parts, viterbi
from tfnes.structures.inference import ExactInference
from tfnes.structures.structure import Structure
from tfnes.typing import Seed, Tensor


@registration.register("structure")
class LinearChain(ExactInference, Structure):
    """Sequences of n states out of C, `[..., n, C, C]` `[position, previous, state]`.

    Exactly one part of each position is 1, and its previous state is the state of the
    position before. Position 0 has no previous state: only its row 0 is used.
    `lengths` counts the positions. `argmax` is Viterbi, O(n C^2); ties go to the lowest
    state, from the last position backwards. Sums are forward-backward and samples drawn
    backwards, both exact and O(n C^2). There are C^n sequences.

    Args:
      num_states: C.

    Raises:
      ConfigurationError: if there is no state.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> structure = tfnes.structures.LinearChain(num_states=2)
        >>> scores = tf.constant([[[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [3.0, 2.0]]])
        >>> structure.states(structure.argmax(scores)).numpy()
        array([1, 0], dtype=int32)

    References:
      Viterbi (1967), "Error bounds for convolutional codes and an asymptotically
      optimum decoding algorithm"; Rabiner (1989), "A tutorial on hidden Markov models".
    """

    parts_rank = 3

    def __init__(self, num_states: int):
        self.num_states = check_integer("LinearChain.num_states", num_states, minimum=1)

    def argmax(self, log_potentials, *, lengths=None):
        log_potentials = tf.convert_to_tensor(log_potentials)
        states = viterbi(log_potentials, lengths=lengths)
        return to_parts(states, num_states=self.num_states, dtype=log_potentials.dtype)

    def states(self, latent: Tensor) -> Tensor:
        """Returns the `[..., n]` int32 states of latents, -1 in padding."""
        state = tf.reduce_sum(latent, axis=-2)
        index = tf.argmax(state, axis=-1, output_type=tf.int32)
        return tf.where(tf.reduce_any(state > 0, axis=-1), index, -1)

    def log_count(self, log_potentials, *, lengths=None):
        log_potentials = tf.convert_to_tensor(log_potentials)
        positions = self._positions(log_potentials, lengths)
        states = tf.constant(self.num_states, log_potentials.dtype)
        return tf.cast(positions, states.dtype) * tf.math.log(states)

    def contains(self, latent, *, lengths=None):
        latent = tf.convert_to_tensor(latent)
        positions = self._positions(latent, lengths)
        real = tf.range(tf.shape(latent)[-3]) < positions[..., None]
        states = tf.where(real, self.states(latent), -1)
        again = to_parts(states, num_states=self.num_states, dtype=latent.dtype)
        missing = real & (states < 0)
        same = tf.reduce_all(tf.equal(again, latent), axis=[-3, -2, -1])
        return same & ~tf.reduce_any(missing, axis=-1)

    def log_partition(self, log_potentials: Tensor, *, lengths=None) -> Tensor:
        """Returns log of the sum over sequences, `[...]`."""
        return log_partition(log_potentials, lengths=lengths)

    def marginals(self, log_potentials: Tensor, *, lengths=None) -> Tensor:
        """Returns p(transition), `[..., n, C, C]`."""
        return marginals(log_potentials, lengths=lengths)

    def sample(
        self,
        log_potentials: Tensor,
        *,
        num_samples: int,
        seed: Seed,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Returns `[num_samples, ..., n, C, C]` exact samples."""
        log_potentials = tf.convert_to_tensor(log_potentials)
        states = sample(
            log_potentials, num_samples=num_samples, seed=seed, lengths=lengths
        )
        return to_parts(states, num_states=self.num_states, dtype=log_potentials.dtype)

    def enumerate(self, num_nodes: int) -> np.ndarray:
        """Returns all C^n sequences of n = `num_nodes` states, `[C^n, n, C, C]`."""
        states = itertools.product(range(self.num_states), repeat=num_nodes)
        states = np.array(list(states), np.int32)
        states = states.reshape([self.num_states**num_nodes, num_nodes])
        return to_parts(states, num_states=self.num_states, dtype=tf.float32).numpy()

    def get_config(self) -> dict[str, Any]:
        return {"num_states": self.num_states}

    @staticmethod
    def _positions(parts: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is not None:
            return tf.convert_to_tensor(lengths)
        return tf.fill(tf.shape(parts)[:-3], tf.shape(parts)[-3])
