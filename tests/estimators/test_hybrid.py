"""The encoder's gradient is that of NES, the decoder's the back-propagated one."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from black_box import make_model, mean_gradient

import tfnes
from tfnes.errors import ConfigurationError
from tfnes.estimators import NES, Exact, HybridNES, NoiseTable


def small_vae():
    keras.utils.set_random_seed(1)
    model = tfnes.models.MLP(hidden_units=4, input_size=6, num_categories=3)
    image = tf.random.stateless_uniform([12, 6], [1, 2]) < 0.4
    batch = {"image": tf.cast(image, tf.float32)}
    model.build(batch)
    for variable in model.trainable_variables:
        variable.assign(2 * variable)
    return model, batch


def by_path(estimate):
    pairs = zip(estimate.variables, estimate.gradients, strict=True)
    return {variable.path: np.asarray(gradient) for variable, gradient in pairs}


def hybrid(**kwargs):
    kwargs = {"population_size": 8, "fitness_shaping": "identity", **kwargs}
    return HybridNES(encoder=NES(**kwargs))


def one(estimator, model, batch, seed=0):
    estimator.build(model)
    return estimator.estimate(model, batch, seed=tfnes.random.make_seed(seed))


def flat(gradients):
    return np.concatenate([np.reshape(g, -1) for g in gradients])


def test_mean_gradient_is_exact_for_the_decoder_and_for_the_encoder_in_the_limit():
    model, batch = small_vae()
    exact = by_path(one(Exact(), model, batch))
    order = [*model.encoder_variables, *model.decoder_variables]
    expected = flat([exact[v.path] for v in order])
    size = sum(int(np.prod(v.shape)) for v in model.encoder_variables)
    errors = []
    for sigma in (0.5, 0.05):
        estimator = hybrid(population_size=100, sigma=sigma)
        mean, error = mean_gradient(estimator, model, repeats=120, batch=batch)
        # The sampled latents' gradient has the exact one as its mean, at any sigma.
        away = np.abs(mean - expected)
        assert np.all(away[size:] < 4 * error[size:] + 1e-6)
        errors.append(away[:size].max())
        estimator.encoder.exact_expectation = True
        found = one(estimator, model, batch)
        np.testing.assert_allclose(
            flat(found.gradients)[size:], expected[size:], rtol=1e-4, atol=1e-6
        )
    assert errors[1] < 4 * error[:size].max() + 2e-3
    assert errors[0] > errors[1]


def test_noise_on_the_log_potentials_is_exact_in_the_limit():
    """By the library's own check, which takes a hybrid as any other estimator."""
    fast = {"noise": "log_potentials", "granularity": "example", "sigma": 0.1}
    tfnes.testing.check_estimator(
        hybrid(exact_expectation=True, **fast),
        law="gibbs",
        num_updates=600,
        max_bias=0.02,
        verbose=False,
    )


@pytest.mark.parametrize("samples", [1, 3])
def test_decoder_gradient_is_that_of_the_latents_at_the_mean(samples):
    model, batch = small_vae()
    estimate = one(hybrid(num_latent_samples=samples), model, batch, seed=5)
    key = tfnes.random.make_seed(5)
    values = [variable.value for variable in model.decoder_variables]
    losses = []
    with tf.GradientTape() as tape:
        for i in range(samples):
            seed = tfnes.random.fold_in(key, i) if i else key
            terms = model.elbo(batch, seed=seed, training=True)
            losses.append(tf.reduce_mean(terms.neg_elbo))
        loss = tf.add_n(losses) / samples
    expected = tape.gradient(loss, values)
    found = by_path(estimate)
    for variable, gradient in zip(model.decoder_variables, expected, strict=True):
        np.testing.assert_allclose(found[variable.path], gradient, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(estimate.loss, loss, rtol=1e-6)


def test_encoder_gradient_is_that_of_nes_with_a_frozen_decoder():
    model, batch = small_vae()
    found = by_path(one(hybrid(), model, batch))
    assert set(found) == {v.path for v in model.trainable_variables}
    model.decoder.trainable = False
    alone = by_path(one(hybrid().encoder, model, batch))
    frozen = by_path(one(hybrid(), model, batch))
    assert set(alone) == set(frozen) == {v.path for v in model.encoder_variables}
    for path in alone:
        np.testing.assert_array_equal(alone[path], found[path])
        np.testing.assert_array_equal(frozen[path], found[path])


class Tied(tfnes.models.StructuredVAE):
    """One matrix, read by encoder and decoder, and one of the decoder's own."""

    def __init__(self):
        super().__init__(tfnes.structures.Categorical())
        self.table, self.scale = (
            self.add_weight(name=name, shape=shape, initializer="ones")
            for name, shape in (("table", (2, 2)), ("scale", (2,)))
        )

    def encode(self, batch, *, training=False):
        return tf.matmul(batch["x"], self.table)

    def log_likelihood(self, batch, latent, *, training=False):
        mean = tf.matmul(latent, self.table, transpose_b=True) * self.scale
        return -tf.reduce_sum((batch["x"] - mean) ** 2, axis=1)


def test_tied_weights_are_perturbed_where_both_read_them():
    model, batch = Tied(), {"x": tf.constant([[1.0, 2.0], [0.5, -1.0]])}
    model.build(batch)
    found = by_path(one(hybrid(), model, batch))
    assert list(found) == [model.table.path, model.scale.path]
    model.scale.trainable = False
    alone = by_path(one(hybrid().encoder, model, batch))
    np.testing.assert_array_equal(found[model.table.path], alone[model.table.path])


def test_fit_save_load_and_go_on(tmp_path):
    model, batch = small_vae()
    data = tf.data.Dataset.from_tensors(batch).repeat(2)
    estimator = HybridNES(
        encoder=NES(population_size=6, noise_source=NoiseTable(size=1 << 9, seed=3))
    )
    model.compile(keras.optimizers.Adam(0.01), estimator)
    before = [v.numpy() for v in model.trainable_variables]
    history = model.fit(data, shuffle=False, verbose=0).history
    assert "decoder_gradient_norm" in history and "population_std" in history
    for old, new in zip(before, model.trainable_variables, strict=True):
        assert np.all(np.any(old != new))
    model.estimator._empty_steps.assign(2)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.estimator.encoder.noise_source.size == 1 << 9
    assert again.estimator._empty_steps == 2
    for each in (model, again):
        each.fit(data, shuffle=False, verbose=0)
    for one_, two in zip(model.variables, again.variables, strict=True):
        np.testing.assert_array_equal(one_, two)


def test_a_decoder_that_fails_skips_the_update():
    model, batch = small_vae()
    model.decoder.layers[-1].bias.assign(np.full(6, np.nan, np.float32))
    assert not one(hybrid(), model, batch).finite


def test_bad_arguments():
    with pytest.raises(ConfigurationError, match=r"encoder must be an NES.*Exact"):
        HybridNES(encoder=Exact())
    with pytest.raises(ConfigurationError, match=r"must be 'pathwise'.*'nes'"):
        HybridNES(encoder=NES(), decoder="nes")
    with pytest.raises(ConfigurationError, match=r"StructuredVAE.*NESModel"):
        hybrid().build(make_model(tf.reduce_sum, [1.0]))
    model, batch = small_vae()
    model.encoder.trainable = False
    with pytest.raises(ConfigurationError, match="its log-potentials depend"):
        one(hybrid(), model, batch)


def test_two_populations_have_the_mean_of_back_propagation():
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).random((4, 6)) < 0.4
    batch = {"image": tf.constant(images, tf.float32)}
    model = tfnes.models.MLP(hidden_units=3, input_size=6, num_categories=3)
    model.build(batch)
    fast = {
        "population_size": 4,
        "sigma": 0.02,
        "noise": "activations",
        "granularity": "example",
        "fitness_shaping": "identity",
    }
    encoder = NES(exact_expectation=True, **fast)
    decoder = model.decoder_variables

    def mean(estimator, updates=300):
        estimator.build(model)

        @tf.function(autograph=False)
        def one(seed):
            found = estimator.estimate(model, batch, seed=seed)
            owners = [id(variable) for variable in found.variables]
            return tf.concat(
                [
                    tf.reshape(found.gradients[owners.index(id(v))], [-1])
                    for v in decoder
                ],
                0,
            )

        draws = np.stack(
            [one(tfnes.random.make_seed(i)).numpy() for i in range(updates)]
        )
        return draws.mean(0), draws.std(0) / np.sqrt(updates)

    hybrid = HybridNES(encoder=encoder, decoder=NES(**fast))
    assert hybrid.evaluations_per_step == 8
    again = HybridNES.from_config(hybrid.get_config())
    assert again.get_config() == hybrid.get_config()
    found, error = mean(hybrid)
    expected, expected_error = mean(HybridNES(encoder=encoder))
    off = np.abs(found - expected) / np.sqrt(error**2 + expected_error**2 + 1e-8)
    assert off.max() < 4.5, off
    assert np.linalg.norm(error) < 0.5 * np.linalg.norm(expected)
    with pytest.raises(ConfigurationError, match="one granularity"):
        HybridNES(encoder=encoder, decoder=NES())
    with pytest.raises(ConfigurationError, match="searches at given latents"):
        HybridNES(encoder=encoder, decoder=encoder)
