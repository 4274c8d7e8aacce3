"""A model of one's own: images explained by a path."""

from typing import Any

import keras
import tensorflow as tf

import tfnes


@tfnes.register("model", package="examples")
class PathVAE(tfnes.models.StructuredVAE):
    """An encoder of two convolutions, a decoder that draws the path.

    A pixel is on with log-odds a where the path goes and b elsewhere; a and b are
    learned. The KL is that between the Gumbel laws of the perturbed parts, the sum of
    h + exp(-h) - 1.

    Args:
      structure: of the path; its parts are the pixels.
      filters: channels of the first convolution.
      **kwargs: of `StructuredVAE`.
    """

    def __init__(self, structure, *, filters: int = 8, **kwargs):
        super().__init__(structure, **kwargs)
        self.filters = filters
        self.encoder = keras.Sequential(
            [
                keras.layers.Conv2D(filters, 3, padding="same", activation="relu"),
                keras.layers.Conv2D(1, 3, padding="same"),
            ],
            name="encoder",
        )
        self.decoder = keras.layers.Dense(1, name="decoder")

    def encode(self, batch, *, training=False):
        return self.encoder(batch["image"], training=training)[..., 0]

    def log_likelihood(self, batch, latent, *, training=False):
        image = batch["image"]
        logits = self.decoder(latent[..., None], training=training)
        logits = tf.broadcast_to(logits, tf.shape(image))
        each = -tf.nn.sigmoid_cross_entropy_with_logits(image, logits)
        return tf.reduce_sum(each, axis=[1, 2, 3])

    def kl_divergence(self, log_potentials, latent, *, lengths=None):
        h = log_potentials
        return tf.reduce_sum(h + tf.exp(-h) - 1, axis=[1, 2])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters}
