"""Noise on the log-potentials, and back-propagation through the encoder.

The latent sees the encoder through its log-potentials h alone, and the encoder is
differentiable; what is not is the way from h to the latent. So the search may be done
where that begins. With k the loss of one example at its log-potentials,

    g(phi)      = E_{w ~ N(0, I)} [k(h_phi(x) + sigma w)]
    grad g(phi) = (dh / dphi)^T  1 / sigma E[w k(h_phi(x) + sigma w)]

A member of the population evaluates the solver and the decoder, not the encoder, and
searches as many dimensions as an example has parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import tensorflow as tf

from tfnes import random
from tfnes.errors import ConfigurationError
from tfnes.estimators.evaluation import possible_parts
from tfnes.estimators.nes.fitness import Fitness
from tfnes.estimators.nes.perturbation import Perturbation
from tfnes.typing import Seed, Tensor

if TYPE_CHECKING:
    from tfnes.models.structured_vae import StructuredVAE

_MOST_NODES = 1 << 15
"""Coordinates of a part are below it where there are two."""


class PotentialNoise(Perturbation):
    """A normal for each part of each example's latent.

    Args:
      fitness: what is evaluated; from here on at these log-potentials.
      variables: of the encoder, and of nothing else.
      seed: `[2]` int32 key of the update.
      sigma: standard deviation of the noise.
      index: `[B]` keys of the examples.

    Raises:
      ConfigurationError: if the loss depends on some of the variables by another way
        than the log-potentials, or the model evaluates its ELBO by a way of its own.
    """

    def __init__(
        self,
        fitness: Fitness,
        variables: Sequence[keras.Variable],
        *,
        seed: Seed,
        sigma: float | Tensor,
        index: Tensor,
    ):
        self.variables = list(variables)
        _check(fitness.model, self.variables)
        known = {id(variable) for variable in self.variables}
        self.touched = [
            (table, tf.unique(tf.reshape(ids, [-1]))[0])
            for table, ids in fitness.model.touched_rows(fitness.batch)
            if id(table) in known
        ]
        self._fitness = fitness
        self._values = [variable.value for variable in self.variables]
        with tf.GradientTape(watch_accessed_variables=False) as self._tape:
            self._tape.watch(self._values)
            self._mean = fitness.encode()
        self._sigma = tf.cast(sigma, self._mean.dtype)
        self._possible = possible_parts(
            fitness.model.structure, self._mean, lengths=fitness.batch.get("lengths")
        )
        self._seed = random.fold_in(seed, int(random.Stream.PARAMETER_NOISE))
        self._index = index

    def zeros(self):
        return tf.zeros_like(self._mean)

    def evaluate(self, pair):
        noise = self._noise(pair)
        step = self._sigma * noise
        losses = [self._fitness.each_at(self._mean + sign * step) for sign in (1, -1)]

        def contribution(plus: Tensor, minus: Tensor) -> Tensor:
            weights = tf.cast(plus + minus, noise.dtype)
            ones = [1] * (noise.shape.rank - 1)
            return tf.reshape(weights, [-1, *ones]) * noise

        return tf.stack(losses), contribution

    def gradients(self, total):
        gradients = self._tape.gradient(
            self._mean,
            self._values,
            output_gradients=total / self._sigma,
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        # A look-up table has a gradient of its rows.
        return [tf.convert_to_tensor(gradient) for gradient in gradients]

    def _noise(self, pair: Tensor) -> Tensor:
        """Returns `[B, *parts]` normals, 0 for parts that are in no structure.

        A number depends on the example and the part, not on the padding.
        """
        shape = tf.shape(self._mean)
        place = tf.range(shape[1])
        if self._mean.shape.rank == 3:
            place = place[:, None] * _MOST_NODES + tf.range(shape[2])
        place = tf.reshape(place, [-1])
        parts = tf.size(place)
        noise = random.normal_rows(
            1,
            seed=self._seed,
            stream=[pair],
            index=tf.repeat(self._index, parts),
            offset=tf.tile(place, shape[:1]),
        )
        noise = tf.cast(tf.reshape(noise, shape), self._mean.dtype)
        return tf.where(self._possible, noise, 0.0)


def _check(model: StructuredVAE, variables: Sequence[keras.Variable]) -> None:
    use = "Use HybridNES(encoder=NES(noise='log_potentials', ...)), or other noise."
    if not hasattr(model, "encode"):
        raise ConfigurationError(
            "NES.noise = 'log_potentials' needs a StructuredVAE, which has some. "
            f"Received: {type(model).__name__}. Use other noise."
        )
    encoder = {id(variable) for variable in model.encoder_variables}
    decoder = {id(variable) for variable in model.decoder_variables}
    others = [
        variable.path
        for variable in variables
        if id(variable) not in encoder or id(variable) in decoder
    ]
    if others:
        raise ConfigurationError(
            "NES.noise = 'log_potentials' finds gradients of variables on which the "
            "loss depends through the log-potentials alone. Received also: "
            f"{', '.join(others)}. {use}"
        )
    kind = type(model)
    owner = {
        name: next(c for c in kind.__mro__ if name in vars(c))
        for name in ("elbo", "elbo_at")
    }
    if not issubclass(owner["elbo_at"], owner["elbo"]):
        raise ConfigurationError(
            f"{kind.__name__} defines elbo and not elbo_at, the ELBO at given "
            "log-potentials, which NES.noise = 'log_potentials' needs. Define it, or "
            "use other noise."
        )
