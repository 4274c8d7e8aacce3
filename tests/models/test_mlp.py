import keras
import numpy as np
import tensorflow as tf

import tfnes
from tfnes import random


def model_and_batch(**kwargs):
    keras.utils.set_random_seed(3)
    model = tfnes.models.MLP(hidden_units=4, input_size=6, num_categories=3, **kwargs)
    image = tf.random.stateless_uniform([9, 2, 3], [1, 2]) < 0.4
    batch = {"image": tf.cast(image, tf.float32)}
    model(batch)
    for variable in model.trainable_variables:
        variable.assign(5 * variable)
    return model, batch


def test_likelihood_and_kl_are_those_of_the_formulas():
    model, batch = model_and_batch()
    terms = model.elbo(batch, seed=random.make_seed(1))
    pixels = batch["image"].numpy().reshape(9, 6)
    logits = model.decoder(terms.latent).numpy().astype(np.float64)
    p = 1 / (1 + np.exp(-logits))
    expected = np.sum(np.where(pixels > 0, np.log(p), np.log(1 - p)), axis=1)
    np.testing.assert_allclose(terms.log_likelihood, expected, rtol=1e-4)
    q = tf.nn.softmax(terms.log_potentials).numpy().astype(np.float64)
    np.testing.assert_allclose(
        terms.kl, np.sum(q * np.log(3 * q), axis=1), rtol=1e-3, atol=1e-6
    )
    assert len(np.unique(np.argmax(terms.latent, -1))) > 1


def test_all_ways_to_the_likelihood_agree():
    for bound in (None, 0.7):
        model, batch = model_and_batch(log_prob_bound=bound)
        latent = model.elbo(batch, seed=random.make_seed(1)).latent
        plain = model.log_likelihood(batch, latent, training=True)
        hard = model.hard_log_likelihood(batch, latent, training=True)
        np.testing.assert_allclose(hard, plain, rtol=1e-5)
        codes = tf.eye(3)
        ours = model.log_likelihoods(batch, codes, training=True)
        base = tfnes.models.StructuredVAE.log_likelihoods(
            model, batch, codes, training=True
        )
        np.testing.assert_allclose(ours, base, rtol=1e-5)


def test_bound_holds_each_pixel_and_in_training_only():
    bound = 0.7
    model, batch = model_and_batch(log_prob_bound=bound)
    free, _ = model_and_batch()
    latent = tf.one_hot([0] * 9, 3)
    training = model.log_likelihood(batch, latent, training=True)
    low, high = -6 * bound, 6 * np.log1p(-np.exp(-bound))
    assert np.all(training >= low - 1e-5) and np.all(training <= high + 1e-5)
    evaluated = model.log_likelihood(batch, latent)
    np.testing.assert_array_equal(evaluated, free.log_likelihood(batch, latent))
    assert np.any(np.abs(evaluated - training) > 0.1)


def test_expected_elbo_is_the_mean_of_the_sampled_one():
    model, batch = model_and_batch()
    exact = model.expected_elbo(batch)
    shape = tf.concat([[4000], tf.shape(exact.latent)], 0)
    noise = random.gumbel([4000 * 9, 3], seed=random.make_seed(2), dtype=tf.float32)
    noisy = exact.log_potentials + tf.reshape(noise, shape)
    latents = model.structure.argmax(noisy)
    each = model.log_likelihoods(batch, tf.eye(3))
    draws = tf.reduce_sum(latents * each, axis=-1).numpy()
    error = draws.std(0) / np.sqrt(4000)
    assert np.all(np.abs(draws.mean(0) - exact.log_likelihood) < 4 * error + 1e-4)
    np.testing.assert_allclose(
        exact.latent, tf.nn.softmax(exact.log_potentials), rtol=1e-5
    )


def test_initial_weights_follow_the_authors_law():
    keras.utils.set_random_seed(0)
    model = tfnes.models.MLP()
    model({"image": tf.zeros([1, 28, 28])})
    for layer in [*model.encoder.layers, *model.decoder.layers]:
        limit = 1 / np.sqrt(layer.kernel.shape[0])
        for weight in (layer.kernel, layer.bias):
            assert np.max(np.abs(weight)) <= limit
        assert np.std(layer.kernel) > 0.55 * limit


def test_exact_gradient_learns():
    model, batch = model_and_batch()
    model.compile(keras.optimizers.Adam(0.05), tfnes.estimators.Exact())
    data = tf.data.Dataset.from_tensors(batch).repeat(60)
    before = np.mean(model.expected_elbo(batch).neg_elbo)
    model.fit(data, verbose=0)
    assert np.mean(model.expected_elbo(batch).neg_elbo) < before - 1


def test_evaluation_shows_three_forms_of_the_elbo():
    model, batch = model_and_batch()
    model.compile(keras.optimizers.Adam(), tfnes.estimators.Exact(), seed=5)
    losses = model.test_losses(batch, seed=random.make_seed(1))
    np.testing.assert_allclose(
        losses["expected_neg_elbo"], model.expected_elbo(batch).neg_elbo, rtol=1e-5
    )
    sampled = model.elbo(batch, seed=random.make_seed(1))
    np.testing.assert_allclose(losses["neg_elbo"], sampled.neg_elbo, rtol=1e-5)
    codes = tf.one_hot(tf.argmax(sampled.log_potentials, axis=1), 3)
    likeliest = sampled.kl - model.log_likelihood(batch, codes)
    np.testing.assert_allclose(losses["argmax_neg_elbo"], likeliest, rtol=1e-5)
    results = model.evaluate(tf.data.Dataset.from_tensors(batch), verbose=0)
    assert len(results) == len(model.test_names)
