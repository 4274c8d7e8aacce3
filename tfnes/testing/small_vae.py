"""A VAE so small that the exact gradient of its expected loss can be computed."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tfnes.models.structured_vae import StructuredVAE
from tfnes.structures.structure import Structure
from tfnes.testing.exact_laws import LAWS
from tfnes.typing import Tensor

_DATA_SIZE = 3


class SmallVAE(StructuredVAE):
    """Linear encoder, linear Gaussian decoder, a structure that can be enumerated."""

    def __init__(
        self, structure: Structure, latents: np.ndarray, *, kl: str, seed: int
    ):
        super().__init__(structure, seed=seed)
        self.latents = latents
        self.kl = kl
        self.parts = latents.shape[1:]
        size = int(np.prod(self.parts))
        generator = np.random.default_rng(seed)

        def weight(name, shape, scale):
            start = keras.initializers.Constant(generator.normal(0, scale, shape))
            return self.add_weight(name=name, shape=shape, initializer=start)

        self.kernel = weight("encoder_kernel", (_DATA_SIZE, size), 0.7)
        self.bias = weight("encoder_bias", (size,), 0.3)
        self.loadings = weight("decoder_kernel", (size, _DATA_SIZE), 1.0)
        self.center = weight("decoder_bias", (_DATA_SIZE,), 0.3)
        self.built = True

    def batch(self, size: int) -> dict[str, Tensor]:
        """Returns a batch of normal data."""
        generator = np.random.default_rng(self.seed + 1)
        return {"x": tf.constant(generator.normal(size=(size, _DATA_SIZE)), tf.float32)}

    def encode(self, batch, *, training=False):
        flat = tf.matmul(batch["x"], self.kernel) + self.bias
        return tf.reshape(flat, [-1, *self.parts])

    def log_likelihood(self, batch, latent, *, training=False):
        flat = tf.reshape(latent, [tf.shape(latent)[0], -1])
        mean = tf.matmul(flat, self.loadings) + self.center
        return -0.5 * tf.reduce_sum(tf.square(batch["x"] - mean), axis=-1)

    def kl_divergence(self, log_potentials, latent, *, lengths=None):
        axes = list(range(1, len(self.parts) + 1))
        if self.kl == "perturb_and_map":
            score = self.structure.score(latent, log_potentials)
            return score + float(np.log(len(self.latents)))
        if self.kl == "gumbel":
            terms = log_potentials + tf.exp(-log_potentials) - 1
            possible = self.latents.any(0)
            return tf.reduce_sum(tf.where(possible, terms, 0), axis=axes)
        return tf.zeros(tf.shape(log_potentials)[:1])

    def expected_neg_elbo(self, batch: dict[str, Tensor], law: str) -> Tensor:
        """Returns the exact mean loss of the batch under `law`, `[]`."""
        log_potentials = self.encode(batch)
        count, size = len(self.latents), batch["x"].shape[0]
        copies = {"x": tf.repeat(batch["x"], count, axis=0)}
        latents = tf.tile(self.latents, [size] + [1] * len(self.parts))
        each = self.kl_divergence(tf.repeat(log_potentials, count, axis=0), latents)
        each -= self.log_likelihood(copies, latents)
        probabilities = LAWS[law](self.latents, log_potentials)
        losses = tf.reshape(each, [size, count])
        return tf.reduce_mean(tf.reduce_sum(probabilities * losses, axis=1))
