"""Every form of NES in `fit`: it learns, and goes on from a file as if not stopped."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnes
from tfnes.estimators import NES, HybridNES

EXAMPLE = {"population_size": 4, "granularity": "example"}
FORMS = {
    "activations, member": lambda: NES(population_size=4, noise="activations"),
    "activations, example": lambda: NES(
        noise="activations", baseline="leave_one_out", **EXAMPLE
    ),
    "low rank, member": lambda: NES(population_size=4, noise="low_rank", rank=2),
    "low rank, example": lambda: NES(noise="low_rank", **EXAMPLE),
    "schedule": lambda: NES(
        sigma=keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5),
        noise="activations",
        **EXAMPLE,
    ),
    "two populations": lambda: HybridNES(
        encoder=NES(noise="log_potentials", exact_expectation=True, **EXAMPLE),
        decoder=NES(noise="activations", **EXAMPLE),
    ),
}


@pytest.mark.reliability
@pytest.mark.thorough
@pytest.mark.parametrize("form", sorted(FORMS))
def test_fit_save_load_and_go_on(form, tmp_path):
    image = tf.random.stateless_uniform([5, 6], [1, 2]) < 0.4
    batch = {"image": tf.cast(image, tf.float32)}
    data = tf.data.Dataset.from_tensors(batch).repeat(2)

    def compiled():
        keras.utils.set_random_seed(1)
        model = tfnes.models.MLP(hidden_units=4, input_size=6, num_categories=3)
        model.build(batch)
        model.compile(keras.optimizers.Adam(0.01), FORMS[form]())
        return model

    model, whole = compiled(), compiled()
    before = [v.numpy() for v in model.trainable_variables]
    model.fit(data, shuffle=False, verbose=0)
    for old, new in zip(before, model.trainable_variables, strict=True):
        assert np.any(old != new)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.estimator.get_config() == model.estimator.get_config()
    again.fit(data, shuffle=False, verbose=0)
    whole.fit(data, epochs=2, shuffle=False, verbose=0)
    for one, two in zip(again.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(one, two)
