"""Models of the estimator tests."""

import keras
import numpy as np
import tensorflow as tf

import tfnes


class TableVAE(tfnes.models.StructuredVAE):
    """Log-potentials straight from a table; log p(x|z) is any function of (x, z)."""

    def __init__(self, structure, table, log_likelihood, kl=None):
        super().__init__(structure)
        table = np.asarray(table, np.float32)
        self.table = self.add_weight(
            name="table",
            shape=table.shape,
            initializer=keras.initializers.Constant(table),
        )
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones")
        self.function = log_likelihood
        self.kl = kl
        self.decoded_sizes = []
        self.built = True

    def encode(self, batch, *, training=False):
        return tf.gather(tf.convert_to_tensor(self.table), batch["x"])

    def log_likelihood(self, batch, latent, *, training=False):
        self.decoded_sizes.append(latent.shape[0])
        return self.scale * self.function(batch, latent)

    def kl_divergence(self, log_potentials, latent, *, lengths=None):
        if self.kl is None:
            return super().kl_divergence(log_potentials, latent, lengths=lengths)
        return self.kl(log_potentials, latent)


def estimate(estimator, model, batch, seed=0):
    """Compiles, and returns one estimate with its gradients by variable name."""
    if model.estimator is not estimator:
        model.compile(keras.optimizers.SGD(), estimator)
    found = estimator.estimate(model, batch, seed=tfnes.random.make_seed(seed))
    gradients = {
        variable.name: None if gradient is None else tf.convert_to_tensor(gradient)
        for variable, gradient in zip(found.variables, found.gradients, strict=True)
    }
    return found, gradients
