"""Moments of many updates are those of the updates one by one."""

import numpy as np
import tensorflow as tf

import tfnes
from tfnes import random
from tfnes.testing import update_moments


def test_moments_are_those_of_the_estimates_one_by_one():
    model = tfnes.models.MLP(hidden_units=2, input_size=3, num_categories=2)
    batch = {"image": tf.constant([[1.0, 0, 1], [0, 0, 1]])}
    model.build(batch)
    nes = tfnes.estimators.NES(population_size=4, fitness_shaping="identity")
    nes.build(model)
    rows = {"loss": [], "population_mean": []}
    key = random.fold_in(random.make_seed(3), 1)
    for update in range(6):
        found = nes.estimate(model, batch, seed=random.fold_in(key, update))
        gradient = np.concatenate([np.ravel(g) for g in found.gradients])
        rows["loss"].append([found.loss, *gradient])
        rows["population_mean"].append([found.metrics["population_mean"], *gradient])
    for first, expected in rows.items():
        mean, variance = update_moments(
            nes, model, batch, num_updates=6, first=first, seed=3
        )
        np.testing.assert_allclose(mean, np.mean(expected, 0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(variance, np.var(expected, 0), rtol=1e-3, atol=1e-5)
