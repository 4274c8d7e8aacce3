"""Training with gold structures."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnes
from tfnes.errors import ConfigurationError
from tfnes.estimators import Supervised


class Line(tfnes.models.StructuredVAE):
    """The supervised loss of an example is (x w - y)^2."""

    def __init__(self):
        super().__init__(tfnes.structures.Categorical())
        self.encoder = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")

    def encode(self, batch, *, training=False):
        return self.encoder(batch["x"])

    def log_likelihood(self, batch, latent, *, training=False):
        return tf.reduce_sum(latent, axis=-1)

    def supervised_loss(self, batch, *, seed):
        return {"loss": (self.encoder(batch["x"])[:, 0] - batch["y"]) ** 2}


BATCH = {
    "x": tf.constant([[1.0], [2.0], [3.0]]),
    "y": tf.constant([0.0, 5.0, 1.0]),
    "lengths": tf.constant([4, 1, 2]),
}


@pytest.mark.parametrize("weights", [None, "lengths"])
def test_gradient_is_the_weighted_mean(weights):
    model = Line()
    estimator = Supervised(weights=weights)
    model.compile(keras.optimizers.SGD(0.1), estimator)
    model.build(BATCH)
    estimate = estimator.estimate(model, BATCH, seed=(0, 0))
    x, y = BATCH["x"][:, 0].numpy(), BATCH["y"].numpy()
    counts = np.ones(3) if weights is None else BATCH["lengths"].numpy()
    np.testing.assert_allclose(
        np.ravel(estimate.gradients[0]), np.mean(counts * 2 * x * (x - y)), rtol=1e-6
    )
    # What is shown is the plain mean, whatever the weights.
    np.testing.assert_allclose(estimate.loss, np.mean((x - y) ** 2), rtol=1e-6)


def test_weights_that_the_batch_has_not():
    model = Line()
    estimator = Supervised(weights="words")
    model.compile(keras.optimizers.SGD(0.1), estimator)
    model.build(BATCH)
    with pytest.raises(ConfigurationError, match="a batch has lengths, x, y"):
        estimator.estimate(model, BATCH, seed=(0, 0))


def test_config():
    assert Supervised(weights="lengths").get_config() == {"weights": "lengths"}
