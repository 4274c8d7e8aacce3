"""Black-box losses of one vector, for tests of the NES engine."""

import keras
import numpy as np
import tensorflow as tf

import tfnes
from tfnes import random


class Vector(keras.Model):
    """A network that is nothing but its parameters."""

    def __init__(self, start):
        super().__init__()
        self.mu = self.add_weight(
            name="mu",
            shape=np.shape(start),
            initializer=keras.initializers.Constant(np.asarray(start)),
        )
        self.built = True

    def call(self, inputs):
        return inputs


def make_model(function, start):
    """Returns a `NESModel` of `function(mu)`, the same for each of two examples."""
    network = Vector(start)

    def loss(batch, seed):
        del seed
        return function(network.mu.value) + tf.zeros_like(batch["x"])

    return tfnes.NESModel(network, loss=loss)


BATCH = {"x": tf.zeros([2])}


def estimate(estimator, model, seed):
    """Returns the estimator's `GradientEstimate` for one key."""
    estimator.build(model)
    return estimator.estimate(model, BATCH, seed=random.make_seed(seed))


def mean_gradient(estimator, model, *, repeats, batch=None):
    """Returns mean and standard error of the flat gradient over keys."""
    estimator.build(model)
    batch = BATCH if batch is None else batch

    @tf.function(autograph=False)
    def one(seed):
        gradients = estimator.estimate(model, batch, seed=seed).gradients
        return tf.concat([tf.reshape(g, [-1]) for g in gradients], 0)

    draws = np.stack([one(random.make_seed(i)).numpy() for i in range(repeats)])
    draws = draws.astype(np.float64)
    return draws.mean(0), draws.std(0, ddof=1) / np.sqrt(repeats)


def noise(estimator_seed, pairs, size):
    """Returns the fresh normals of an update, `[pairs, size]`."""
    seed = random.fold_in(
        random.make_seed(estimator_seed), int(random.Stream.PARAMETER_NOISE)
    )
    padded = -(-size // 16) * 16
    draws = [random.normal_vector(padded, seed=seed, index=i) for i in range(pairs)]
    return np.stack(draws).astype(np.float64)[:, :size]


def losses_of(function, start, sigma, w):
    """Returns the losses at start + sigma w and at start - sigma w, `[2, pairs]`."""
    points = np.concatenate([start + sigma * w, start - sigma * w])
    values = [float(function(tf.constant(p, tf.float32))) for p in points]
    return np.array(values).reshape(2, -1)
