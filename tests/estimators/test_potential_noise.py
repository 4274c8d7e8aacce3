"""Noise on the log-potentials: its gradient is that of the smoothed loss."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from black_box import make_model, mean_gradient

import tfnes
from tfnes import random
from tfnes.errors import ConfigurationError
from tfnes.estimators import NES, Exact, HybridNES

SETTINGS = {
    "population_size": 8,
    "noise": "log_potentials",
    "granularity": "example",
    "fitness_shaping": "identity",
}


def small_vae():
    keras.utils.set_random_seed(1)
    model = tfnes.models.MLP(hidden_units=4, input_size=6, num_categories=3)
    image = tf.random.stateless_uniform([5, 6], [1, 2]) < 0.4
    batch = {"image": tf.cast(image, tf.float32)}
    model.build(batch)
    for variable in model.trainable_variables:
        variable.assign(4 * variable)
    return model, batch


def smoothed_gradient(model, batch, sigma):
    """The gradient of E k(h + sigma w) in the encoder, by Gauss-Hermite quadrature."""
    points, weights = np.polynomial.hermite_e.hermegauss(10)
    steps = np.array(list(itertools.product(sigma * points, repeat=3)), np.float32)
    weights = np.prod(list(itertools.product(weights / weights.sum(), repeat=3)), 1)
    count, size = len(steps), len(batch["image"])
    tiled = {"image": tf.tile(batch["image"], [count, 1])}
    values = [variable.value for variable in model.encoder_variables]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        h = model.encode(tiled) + tf.repeat(steps, size, axis=0)
        losses = model.expected_elbo_at(tiled, h).neg_elbo
        loss = tf.tensordot(weights.astype("float32").repeat(size), losses, 1) / size
    return np.concatenate([np.ravel(g) for g in tape.gradient(loss, values)])


@pytest.mark.parametrize("exact", [True, False])
def test_mean_gradient_is_that_of_the_smoothed_loss(exact):
    model, batch = small_vae()
    sigma = 1.5
    expected = smoothed_gradient(model, batch, sigma)
    size = len(expected)
    nes = NES(sigma=sigma, exact_expectation=exact, **SETTINGS)
    mean, error = mean_gradient(
        HybridNES(encoder=nes), model, repeats=300 if exact else 700, batch=batch
    )
    off = (mean[:size] - expected) / (error[:size] + 1e-6)
    assert np.abs(off).max() < 4.5
    assert np.sqrt(np.mean(off**2)) < 1.6
    assert np.linalg.norm(error[:size]) < 0.3 * np.linalg.norm(expected)
    # The test can tell the smoothed loss from the loss itself.
    plain = Exact().estimate(model, batch, seed=None)
    plain = {v.path: g for v, g in zip(plain.variables, plain.gradients, strict=True)}
    plain = np.concatenate([np.ravel(plain[v.path]) for v in model.encoder_variables])
    assert np.abs((mean[:size] - plain) / (error[:size] + 1e-6)).max() > 6


def small_parser():
    keras.utils.set_random_seed(0)
    data = tfnes.datasets.DemoTreebank(seed=0)
    sizes = dict.fromkeys(
        ("embedding_size", "hidden_size", "scorer_size", "decoder_size"), 3
    )
    model = tfnes.models.Parser(tfnes.structures.DependencyTree(), **sizes)
    model.adapt(data)
    batch = next(iter(data.get_dataset("target_train", batch_size=3)))
    return model, {name: batch[name] for name in ("words", "lengths", "external")}


def small_nri():
    keras.utils.set_random_seed(0)
    positions = np.random.default_rng(0).normal(size=(3, 4, 4, 2)).astype("float32")
    model, batch = tfnes.models.NRI(hidden_units=2), {"positions": positions}
    return model, {name: tf.constant(value) for name, value in batch.items()}


@pytest.mark.parametrize("make", [small_vae, small_parser, small_nri])
def test_elbo_at_the_log_potentials_is_the_elbo(make):
    model, batch = make()
    model.build(batch)
    shared = model.shared_terms(batch, seed=random.make_seed(3))
    expected = model.elbo(batch, shared=shared)
    for given in (shared, model.share_decoder(batch, shared=shared)):
        found = model.elbo_at(batch, model.encode(batch), shared=given)
        for one, two in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_padding_changes_nothing():
    model, batch = small_parser()
    model.decoder_trainable = False
    model.build(batch)
    nes = NES(**SETTINGS)
    nes.build(model)
    padded = {name: value for name, value in batch.items() if name != "lengths"}
    padded = {k: tf.pad(v, [[0, 2], [0, 5]]) for k, v in padded.items()}
    padded["lengths"] = tf.pad(batch["lengths"], [[0, 2]])
    one, two = (
        nes.estimate(model, each, seed=random.make_seed(1)) for each in (batch, padded)
    )
    assert max(np.abs(g).max() for g in one.gradients) > 0
    np.testing.assert_allclose(two.loss, one.loss, rtol=1e-6)
    for first, second in zip(one.gradients, two.gradients, strict=True):
        np.testing.assert_allclose(second, first, rtol=1e-4, atol=1e-6)


def test_fit_save_load_and_go_on(tmp_path):
    model, batch = small_vae()
    nes = NES(population_size=4, noise="log_potentials", granularity="example")
    model.compile(keras.optimizers.Adam(0.01), HybridNES(encoder=nes))
    data = tf.data.Dataset.from_tensors(batch).repeat(2)
    before = [v.numpy() for v in model.trainable_variables]
    model.fit(data, shuffle=False, verbose=0)
    for old, new in zip(before, model.trainable_variables, strict=True):
        assert np.all(np.any(old != new))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, again):
        each.fit(data, shuffle=False, verbose=0)
    for one, two in zip(model.variables, again.variables, strict=True):
        np.testing.assert_array_equal(one, two)


def test_bad_uses():
    with pytest.raises(ConfigurationError, match="Use granularity='example'"):
        NES(noise="log_potentials")
    nes = NES(**SETTINGS)

    def estimate(model, batch):
        nes.build(model)
        nes.estimate(model, batch, seed=random.make_seed(0))

    model, batch = small_vae()
    with pytest.raises(ConfigurationError, match=r"Received also.*decoder.*HybridNES"):
        estimate(model, batch)
    with pytest.raises(ConfigurationError, match=r"StructuredVAE.*NESModel"):
        estimate(make_model(tf.reduce_sum, [1.0]), {"x": tf.zeros([2])})

    class Own(tfnes.models.MLP):
        def elbo(self, batch, **kwargs):
            return super().elbo(batch, **kwargs)

    model = Own(hidden_units=4, input_size=6)
    model.build(batch)
    model.decoder.trainable = False
    with pytest.raises(ConfigurationError, match="Own defines elbo and not elbo_at"):
        estimate(model, batch)
