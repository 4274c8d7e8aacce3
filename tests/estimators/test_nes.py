import keras
import numpy as np
import pytest
import tensorflow as tf
from black_box import (
    BATCH,
    Vector,
    estimate,
    losses_of,
    make_model,
    mean_gradient,
    noise,
)
from scipy import stats

import tfnes
from tfnes.errors import ConfigurationError, NonFiniteError, UnsupportedStructureError
from tfnes.estimators import NES, Exact

MATRIX = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 3.0]], np.float32)
OFFSET = np.array([1.0, -2.0, 0.5], np.float32)
START = np.array([0.7, -0.4, 0.2], np.float32)


def quadratic(x):
    return 0.5 * tf.reduce_sum(x * tf.linalg.matvec(MATRIX, x)) + tf.reduce_sum(
        OFFSET * x
    )


def cubic(x):
    return tf.reduce_sum(x**3)


def step(x):
    return tf.cast(x[0] > 0, tf.float32)


@pytest.mark.parametrize("num_shards", [1, 4])
def test_is_algorithm_1_on_the_same_noise(num_shards):
    pairs, sigma = 11, 0.3
    w = noise(5, pairs, 3)
    plus, minus = losses_of(quadratic, START, sigma, w)
    # Algorithm 1 as printed, over all 2 n members, with z-scored losses.
    everything = np.concatenate([plus, minus])
    shaped = (everything - everything.mean()) / everything.std()
    members = np.concatenate([w, -w])
    expected = (members * shaped[:, None]).sum(0) / (len(members) * sigma)

    nes = NES(population_size=2 * pairs, sigma=sigma, num_shards=num_shards)
    result = estimate(nes, make_model(quadratic, START), 5)
    np.testing.assert_allclose(result.gradients[0], expected, rtol=2e-4)
    np.testing.assert_allclose(result.loss, quadratic(START), rtol=1e-6)
    metrics = result.metrics
    np.testing.assert_allclose(metrics["population_mean"], everything.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["population_std"], everything.std(), rtol=1e-4)
    np.testing.assert_allclose(
        metrics["gradient_norm"], np.linalg.norm(expected), rtol=2e-4
    )


def test_centered_ranks_on_the_same_noise():
    pairs, sigma = 9, 0.3
    w = noise(6, pairs, 3)
    plus, minus = losses_of(cubic, START, sigma, w)
    everything = np.concatenate([plus, minus])
    ranks = (stats.rankdata(everything) - 1) / (len(everything) - 1) - 0.5
    members = np.concatenate([w, -w])
    expected = (members * ranks[:, None]).sum(0) / (len(members) * sigma)

    nes = NES(population_size=2 * pairs, sigma=sigma, fitness_shaping="centered_ranks")
    result = estimate(nes, make_model(cubic, START), 6)
    np.testing.assert_allclose(result.gradients[0], expected, rtol=2e-4)


@pytest.mark.parametrize(
    ("function", "gradient"),
    [
        # Smoothing leaves the gradient of a quadratic as it is.
        (quadratic, lambda mu, sigma: MATRIX @ mu + OFFSET),
        # E (mu + sigma w)^3 = mu^3 + 3 mu sigma^2.
        (cubic, lambda mu, sigma: 3 * mu**2 + 3 * sigma**2),
        # P(mu + sigma w > 0) = Phi(mu / sigma).
        (
            step,
            lambda mu, sigma: stats.norm.pdf(mu[0] / sigma) / sigma * np.eye(3)[0],
        ),
    ],
)
def test_mean_is_the_gradient_of_the_smoothed_function(function, gradient):
    sigma = 0.5
    nes = NES(population_size=100, sigma=sigma, fitness_shaping="identity")
    mean, error = mean_gradient(nes, make_model(function, START), repeats=80)
    expected = gradient(START.astype(np.float64), sigma)
    assert np.all(error < 0.1)
    assert np.all(np.abs(mean - expected) < 4 * error + 1e-6), (mean, expected, error)


def test_members_of_a_pair_are_exact_negatives():
    # At mu = 0 an odd function has exactly opposite values on a pair.
    model = make_model(lambda x: tf.reduce_sum(x) ** 3, np.zeros(3, np.float32))
    metrics = estimate(NES(population_size=20, sigma=0.3), model, 1).metrics
    assert metrics["population_std"] > 0
    even = make_model(lambda x: tf.reduce_sum(x**2), np.zeros(3, np.float32))
    result = estimate(NES(population_size=20, sigma=0.3), even, 1)
    np.testing.assert_array_equal(result.gradients[0], np.zeros(3))


@pytest.mark.parametrize("shaping", ["z_score", "identity", "centered_ranks"])
def test_constant_loss_gives_zero_and_no_step(shaping):
    model = make_model(lambda x: 0.1 + 0.0 * x[0], START)
    nes = NES(population_size=22, sigma=0.3, fitness_shaping=shaping)
    result = estimate(nes, model, 1)
    np.testing.assert_array_equal(result.gradients[0], np.zeros(3))
    assert not result.finite


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_pairs_that_are_not_finite_are_dropped_with_both_signs(bad):
    pairs, sigma = 12, 0.5
    w = noise(2, pairs, 3)

    def function(x):
        return tf.where(x[0] > 1.0, tf.constant(bad, tf.float32), quadratic(x))

    broken = (START[0] + sigma * w[:, 0] > 1) | (START[0] - sigma * w[:, 0] > 1)
    assert 0 < broken.sum() < pairs
    plus, minus = losses_of(quadratic, START, sigma, w[~broken])
    everything = np.concatenate([plus, minus])
    expected = ((plus - minus)[:, None] * w[~broken]).sum(0)
    expected /= everything.size * sigma * everything.std()

    result = estimate(
        NES(population_size=2 * pairs, sigma=sigma), make_model(function, START), 2
    )
    np.testing.assert_allclose(result.gradients[0], expected, rtol=1e-3)
    np.testing.assert_allclose(
        result.metrics["dropped_pairs"], broken.mean(), rtol=1e-5
    )


def test_empty_updates_leave_everything_and_then_stop_training():
    model = make_model(lambda x: x[0] * float("nan"), START)
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.1)
    model.compile(optimizer, NES(population_size=4, max_empty_steps=3))
    data = tf.data.Dataset.from_tensors(BATCH).repeat(5)
    with pytest.raises(NonFiniteError, match=r"skipped 3 updates in a row.*sigma"):
        model.fit(data, shuffle=False, verbose=0)
    np.testing.assert_array_equal(model.network.mu, START)
    assert optimizer.iterations == 0
    assert all(np.all(v == 0) for v in optimizer.variables[1:])
    assert model.step == 3


def test_one_empty_update_is_forgotten():
    def sometimes(x):
        return tf.where(model.step % 2 == 0, quadratic(x), float("nan"))

    model = make_model(sometimes, START)
    model.compile(keras.optimizers.SGD(0.01), NES(population_size=4, max_empty_steps=2))
    data = tf.data.Dataset.from_tensors(BATCH).repeat(6)
    model.fit(data, shuffle=False, verbose=0)
    assert model.step == 6


def small_vae():
    keras.utils.set_random_seed(1)
    model = tfnes.models.MLP(hidden_units=4, input_size=6, num_categories=3)
    image = tf.random.stateless_uniform([12, 6], [1, 2]) < 0.4
    batch = {"image": tf.cast(image, tf.float32)}
    model(batch)
    for variable in model.trainable_variables:
        variable.assign(2 * variable)
    return model, batch


def flat(gradients):
    return np.concatenate([np.reshape(g, -1) for g in gradients])


def test_tends_to_the_exact_gradient_as_sigma_shrinks():
    model, batch = small_vae()
    exact = flat(Exact().estimate(model, batch, seed=None).gradients)
    errors = []
    for sigma in (0.5, 0.05):
        nes = NES(
            population_size=200,
            sigma=sigma,
            fitness_shaping="identity",
            exact_expectation=True,
        )
        mean, error = mean_gradient(nes, model, repeats=30, batch=batch)
        errors.append(np.abs(mean - exact))
    assert np.all(errors[1] < 4 * error + 2e-3)
    assert errors[0].max() > 3 * errors[1].max()


def test_sampled_and_exact_expectation_have_the_same_mean():
    model, batch = small_vae()
    shared = {"population_size": 40, "sigma": 0.5, "fitness_shaping": "identity"}
    exact = NES(exact_expectation=True, **shared)
    sampled = NES(num_latent_samples=2, **shared)
    assert sampled.evaluations_per_step == 80
    first, error = mean_gradient(exact, model, repeats=60, batch=batch)
    second, other = mean_gradient(sampled, model, repeats=100, batch=batch)
    distance = np.abs(first - second) / np.hypot(error, other)
    assert distance.max() < 4.5
    assert np.mean(distance**2) < 1.6


def test_exact_expectation_needs_latents_that_can_be_enumerated():
    class Opaque(tfnes.structures.Structure):
        def argmax(self, log_potentials, *, lengths=None): ...
        def log_count(self, log_potentials, *, lengths=None): ...
        def contains(self, latent, *, lengths=None): ...

    model = tfnes.models.MLP(structure=Opaque(), input_size=2)
    with pytest.raises(UnsupportedStructureError, match="exact_expectation"):
        NES(exact_expectation=True).build(model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"population_size": 601}, "must be even.*Received: 601. Use 602"),
        ({"population_size": 0}, "at least 2.*Received: 0. Use 2"),
        ({"sigma": 0.0}, "NES.sigma must be a finite number, above 0.*Received: 0.0"),
        ({"sigma": float("nan")}, "NES.sigma must be a finite number, above 0"),
        (
            {"noise_source": "white"},
            "NES.noise_source must be one of.*fresh.*table.*'white'",
        ),
        ({"fitness_shaping": "rank"}, "fitness_shaping must be one of.*'rank'"),
        (
            {"num_latent_samples": 0},
            "num_latent_samples must be an integer",
        ),
        (
            {"num_latent_samples": 2, "exact_expectation": True},
            "leaves nothing to sample",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        NES(**arguments)


def test_no_variables_is_an_error():
    model = make_model(quadratic, START)
    model.network.trainable = False
    with pytest.raises(ConfigurationError, match="no trainable variables"):
        estimate(NES(population_size=4), model, 0)


def test_float64_parameters_keep_their_precision():
    class Wide(Vector):
        def __init__(self, start):
            keras.Model.__init__(self, dtype="float64")
            start = keras.initializers.Constant(np.asarray(start))
            self.mu = self.add_weight(
                name="mu", shape=(3,), dtype="float64", initializer=start
            )
            self.built = True

    network = Wide(START)
    seen = []

    def loss(batch, seed):
        seen.append(network.mu.value.dtype)
        return tf.reduce_sum(network.mu.value**2) + tf.zeros([2], tf.float64)

    model = tfnes.NESModel(network, loss=loss)
    result = estimate(NES(population_size=4), model, 0)
    assert result.gradients[0].dtype == tf.float64
    assert set(seen) == {tf.float64}


def test_config_round_trip():
    nes = NES(
        population_size=6,
        sigma=0.2,
        noise_source=tfnes.estimators.NoiseTable(size=1 << 10, seed=3),
        fitness_shaping="centered_ranks",
        num_shards=2,
    )
    config = keras.saving.serialize_keras_object(nes)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == nes.get_config()
    assert again.noise_source.size == 1 << 10
