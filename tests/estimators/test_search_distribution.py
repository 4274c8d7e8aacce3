"""Distributions that learn their scale: closed forms, and the papers' updates."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from black_box import BATCH, make_model, noise

import tfnes
from tfnes.errors import ConfigurationError
from tfnes.estimators import (
    NES,
    FullCovariance,
    HybridNES,
    LayerSigma,
    SeparableSigma,
)

CURVATURE = np.array([0.5, 1.0, 3.0])
SLOPE = np.array([1.0, -2.0, 0.5])
START = np.array([0.7, -0.4, 0.2])


def bowl(x):
    return tf.reduce_sum(CURVATURE.astype("f") * x**2) + tf.reduce_sum(
        SLOPE.astype("f") * x
    )


def curved(x):
    return bowl(x) + 2 * x[0] * x[1] + tf.sin(x[2])


def log_sigmas(distribution):
    return np.concatenate([np.ravel(v.numpy()) for v in distribution._log_sigma])


def one_step(distribution, function, seed=5, **kwargs):
    """Returns the gradient of one update; the distribution has moved."""
    nes = NES(sigma=distribution, **kwargs)
    model = make_model(function, START)
    nes.build(model)
    estimate = nes.estimate(model, BATCH, seed=tfnes.random.make_seed(seed))
    assert estimate.finite
    return estimate.gradients[0].numpy()


def members(function, factor, w):
    """Returns +w and -w, and their losses."""
    both = np.concatenate([w, -w])
    points = (START + both @ factor.T).astype("f")
    return both, np.array([float(function(tf.constant(p))) for p in points])


def utilities(losses, shaping):
    """The papers' utilities, negative because the loss is minimized; their sum is 0."""
    if shaping == "log_ranks":
        order = np.argsort(np.argsort(losses))
        weight = np.maximum(0, math.log(len(losses) / 2 + 1) - np.log(order + 1.0))
        return weight / weight.sum() - 1 / len(losses)
    # Standardized, each less the mean of the other pairs.
    half = len(losses) // 2
    pair = losses[:half] + losses[half:]
    others = (pair.sum() - pair) / (2 * (half - 1))
    return -(losses - np.tile(others, 2)) / losses.std() / len(losses)


@pytest.mark.parametrize("shaping", ["z_score", "log_ranks"])
def test_is_the_snes_of_the_paper_on_the_same_noise(shaping):
    pairs, rate = 6, 0.7
    distribution = SeparableSigma(sigma=0.3, learning_rate=rate)
    gradient = one_step(
        distribution, curved, population_size=2 * pairs, fitness_shaping=shaping
    )
    # Wierstra et al. 2014, Algorithm 6.
    s, losses = members(curved, 0.3 * np.eye(3), noise(5, pairs, 3))
    u = utilities(losses, shaping)
    step = 0.3 * (u @ s)
    sigma = 0.3 * np.exp(rate / 2 * (u @ (s**2 - 1)))
    np.testing.assert_allclose(-gradient, step, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(log_sigmas(distribution), np.log(sigma), atol=1e-4)


@pytest.mark.parametrize("shaping", ["z_score", "log_ranks"])
def test_is_the_xnes_of_the_paper_on_the_same_noise(shaping):
    from scipy.linalg import expm

    pairs, rate, sigma = 6, 0.4, 0.3
    distribution = FullCovariance(sigma=sigma, learning_rate=rate)
    nes = NES(sigma=distribution, population_size=2 * pairs, fitness_shaping=shaping)
    model = make_model(curved, START)
    nes.build(model)
    factor = np.eye(3)
    for seed in (5, 6):
        key = tfnes.random.make_seed(seed)
        gradient = nes.estimate(model, BATCH, seed=key).gradients[0].numpy()
        # Wierstra et al. 2014, Algorithm 5.
        s, losses = members(curved, sigma * factor, noise(seed, pairs, 3))
        u = utilities(losses, shaping)
        step = sigma * factor @ (u @ s)
        matrix = np.einsum("k,ki,kj->ij", u, s, s) - u.sum() * np.eye(3)
        scale = np.trace(matrix) / 3
        sigma *= math.exp(rate / 2 * scale)
        factor = factor @ expm(rate / 2 * (matrix - scale * np.eye(3)))
        np.testing.assert_allclose(-gradient, step, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(distribution._factor, factor, atol=2e-4)
        np.testing.assert_allclose(log_sigmas(distribution), math.log(sigma), atol=1e-4)
    assert np.abs(factor - np.diag(np.diag(factor))).max() > 0.01


# The expected natural gradient of log sigma_i of E f(mu + sigma w) is
# 1/2 E f (w_i^2 - 1): sigma_i^2 a_i for sum of a_i x_i^2, 0 for a linear function.
@pytest.mark.parametrize(
    ("function", "per_parameter"),
    [(bowl, CURVATURE), (lambda x: tf.reduce_sum(SLOPE.astype("f") * x), 0 * SLOPE)],
    ids=["quadratic", "linear"],
)
@pytest.mark.parametrize("kind", [SeparableSigma, LayerSigma, FullCovariance])
def test_mean_change_is_the_natural_gradient(kind, function, per_parameter):
    sigma, rate, repeats = 0.5, 1e-3, 300
    model = make_model(function, START)
    distribution = kind(sigma=sigma, learning_rate=rate)
    nes = NES(sigma=distribution, population_size=8, fitness_shaping="identity")
    nes.build(model)
    nes.build_state(model)

    @tf.function(autograph=False)
    def one(seed):
        for variable in distribution._log_sigma:
            variable.assign(tf.fill(variable.shape, math.log(sigma)))
        if kind is FullCovariance:
            distribution._factor.assign(tf.eye(3))
        gradient = nes.estimate(model, BATCH, seed=seed).gradients[0]
        moved = [tf.reshape(v, [-1]) for v in distribution._log_sigma]
        return tf.concat([gradient, *moved], 0)

    draws = [one(tfnes.random.make_seed(i)).numpy() for i in range(repeats)]
    draws = np.stack(draws).astype(np.float64)
    mean, error = draws.mean(0), draws.std(0, ddof=1) / math.sqrt(repeats)
    expected = sigma**2 * per_parameter
    if kind is not SeparableSigma:
        expected = expected.mean(keepdims=True)
    change, error_ = (math.log(sigma) - mean[3:]) / rate, error[3:] / rate
    assert np.all(error_ < 0.2)
    assert np.all(np.abs(change - expected) < 4 * error_ + 1e-3), (change, expected)
    # Of the mean: sigma^2 times the gradient of the smoothed function.
    curved_ = function is bowl
    gradient = sigma**2 * (SLOPE + curved_ * 2 * CURVATURE * START)
    assert np.all(np.abs(mean[:3] - gradient) < 4 * error[:3] + 1e-4)


def evaluations_until(function, sigma, *, below, rate=1.0, population_size=10):
    """Returns the evaluations that SGD needs; more than a limit where it does not."""
    size, limit = 8, 400
    network_start = np.full(size, 1.0)
    model = make_model(function, network_start)
    nes = NES(sigma=sigma, population_size=population_size, fitness_shaping="log_ranks")
    model.compile(keras.optimizers.SGD(rate), nes)
    model(BATCH)

    @tf.function(autograph=False)
    def run():
        def value():
            return function(model.network.mu.value)

        def body(i):
            model.train_step(BATCH)
            return i + 1

        return tf.while_loop(
            lambda i: (i < limit) & (value() > below), body, [0], parallel_iterations=1
        )

    model.train_on_batch(BATCH)
    return int(run()[0]) * population_size


def sphere(x):
    return tf.reduce_sum(x**2)


def ellipsoid(x):
    return tf.reduce_sum(tf.constant(np.logspace(0, 3, 8), tf.float32) * x**2)


@pytest.mark.parametrize(
    ("function", "make"),
    [
        (sphere, lambda: SeparableSigma(sigma=0.3)),
        (sphere, lambda: LayerSigma(sigma=0.3)),
        (sphere, lambda: FullCovariance(sigma=0.3)),
        (ellipsoid, lambda: SeparableSigma(sigma=0.3)),
        (ellipsoid, lambda: FullCovariance(sigma=0.3, learning_rate=0.2)),
    ],
)
def test_needs_fewer_evaluations_than_a_fixed_sigma(function, make):
    adapted = evaluations_until(function, make(), below=1e-4)
    # The natural step of a fixed sigma is sigma^2 times the plain gradient.
    fixed = [
        evaluations_until(function, sigma, below=1e-4, rate=sigma**2)
        for sigma in (0.3, 0.03)
    ]
    print(adapted, fixed)
    assert adapted < 0.7 * min(fixed)


def test_state_is_saved_resumed_and_bounded(tmp_path):
    def compiled():
        keras.utils.set_random_seed(1)
        model = tfnes.models.MLP(hidden_units=4, input_size=6, num_categories=3)
        sigma = SeparableSigma(sigma=0.1, learning_rate=2.0, max_sigma=0.11)
        nes = NES(sigma=sigma, population_size=6)
        model.compile(keras.optimizers.Adam(0.01), nes)
        return model

    image = tf.random.stateless_uniform([12, 6], [1, 2]) < 0.4
    data = tf.data.Dataset.from_tensors({"image": tf.cast(image, tf.float32)}).repeat(2)
    model, whole = compiled(), compiled()
    history = model.fit(data, shuffle=False, verbose=0).history
    assert 0 < history["sigma"][0] < 0.11
    found = log_sigmas(model.estimator.sigma)
    assert found.size == model.count_params() - 1  # all but the counter of steps
    assert found.max() == np.float32(math.log(0.11)) and found.min() < math.log(0.1)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    again.fit(data, shuffle=False, verbose=0)
    whole.fit(data, epochs=2, shuffle=False, verbose=0)
    for one, two in zip(
        [*again.variables, *again.estimator.variables],
        [*whole.variables, *whole.estimator.variables],
        strict=True,
    ):
        np.testing.assert_array_equal(one, two)


def test_a_skipped_update_and_a_pair_that_is_not_finite_leave_it():
    distribution = SeparableSigma(sigma=0.1)
    nes = NES(sigma=distribution, population_size=4)
    model = make_model(lambda x: tf.constant(1.0), START)
    nes.build(model)
    estimate = nes.estimate(model, BATCH, seed=tfnes.random.make_seed(0))
    assert not estimate.finite
    np.testing.assert_array_equal(log_sigmas(distribution), np.float32(math.log(0.1)))

    w = noise(5, 8, 3)
    edge = float(np.sort(START[0] + 0.3 * np.abs(w[:, 0]))[-1]) - 1e-3

    def broken(x):
        return tf.where(x[0] > edge, float("nan"), curved(x))

    distribution = SeparableSigma(sigma=0.3, learning_rate=0.7)
    one_step(distribution, broken, population_size=16)
    kept = np.abs(w[:, 0]) < np.abs(w[:, 0]).max()
    s, losses = members(curved, 0.3 * np.eye(3), w[kept])
    assert len(losses) == 14
    # A dropped pair counts in the others' baseline as if nothing had moved it.
    losses -= float(curved(tf.constant(START, tf.float32)))
    pair = losses[:7] + losses[7:]
    u = -(losses - np.tile((pair.sum() - pair) / 14, 2)) / losses.std() / 14
    expected = math.log(0.3) + 0.35 * (u @ (s**2 - 1))
    np.testing.assert_allclose(log_sigmas(distribution), expected, atol=1e-4)


def test_tables_move_where_they_are_touched():
    network = keras.Sequential(
        [keras.Input([3], dtype="int32"), keras.layers.Embedding(6, 2)]
    )
    table = network.layers[0].embeddings

    class Table(tfnes.NESModel):
        def touched_rows(self, batch):
            return [(table, batch["ids"])]

    def loss(batch, seed):
        del seed
        return tf.reduce_sum((network(batch["ids"]) - 1.0) ** 2, axis=[1, 2])

    model = Table(network, loss=loss)
    batch = {"ids": tf.constant([[4, 1, 4]])}
    key = tfnes.random.make_seed(0)
    separable = SeparableSigma()
    for distribution in (separable, LayerSigma()):
        nes = NES(sigma=distribution, population_size=6)
        nes.build(model)
        nes.estimate(model, batch, seed=key)
    moved = separable._log_sigma[0].numpy() != np.float32(math.log(0.1))
    np.testing.assert_array_equal(
        moved.all(1), [False, True, False, False, True, False]
    )
    nes = NES(sigma=FullCovariance(), population_size=6)
    nes.build(model)
    with pytest.raises(ConfigurationError, match=r"embeddings.*SeparableSigma"):
        nes.estimate(model, batch, seed=key)


def test_the_hybrid_learns_the_scale_of_the_encoder():
    model = tfnes.models.MLP(hidden_units=4, input_size=6, num_categories=3)
    distribution = LayerSigma(learning_rate=5.0)
    hybrid = HybridNES(encoder=NES(sigma=distribution, population_size=6))
    model.compile(keras.optimizers.Adam(0.01), hybrid)
    data = tf.data.Dataset.from_tensors({"image": tf.ones([5, 6])})
    model.fit(data, shuffle=False, verbose=0)
    assert len(distribution.variables) == len(model.encoder_variables) == 4
    assert np.all(log_sigmas(distribution) != np.float32(math.log(0.1)))


def test_a_schedule_is_a_function_of_the_step():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.2, 1, 0.5)
    model = make_model(curved, START)
    model.compile("sgd", NES(sigma=schedule, population_size=6))
    model.step.assign(2)
    key = tfnes.random.make_seed(1)
    found = model.estimator.estimate(model, BATCH, seed=key)
    expected = NES(sigma=0.05, population_size=6)
    expected.build(model)
    other = expected.estimate(model, BATCH, seed=key)
    np.testing.assert_allclose(found.gradients[0], other.gradients[0], rtol=1e-6)
    np.testing.assert_allclose(found.metrics["sigma"], 0.05, rtol=1e-6)


@pytest.mark.parametrize(
    "sigma",
    [
        keras.optimizers.schedules.ExponentialDecay(0.2, 10, 0.5),
        LayerSigma(sigma=0.2, learning_rate=0.1),
        FullCovariance(max_size=7),
    ],
)
def test_config_round_trip(sigma):
    config = keras.saving.serialize_keras_object(NES(sigma=sigma))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again.sigma) is type(sigma)
    assert again.sigma.get_config() == sigma.get_config()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: SeparableSigma(sigma=0.0),
            "SeparableSigma.sigma must be .*at least .*Received: 0.0",
        ),
        (
            lambda: LayerSigma(sigma=20.0),
            "LayerSigma.sigma must be .*at most 10.0.*Received: 20.0",
        ),
        (lambda: LayerSigma(learning_rate=0.0), "learning_rate must be .*above 0"),
        (
            lambda: NES(sigma=LayerSigma(), noise="activations"),
            "LayerSigma learns.*weights.*'activations'",
        ),
        (lambda: NES(sigma=LayerSigma(), population_size=2), "Received.*=2. Use 4"),
        (
            lambda: one_step(FullCovariance(max_size=2), bowl),
            "max_size is 2, and 3 parameters.*9 numbers.*SeparableSigma",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_state_belongs_to_one_set_of_variables():
    distribution = LayerSigma()
    one_step(distribution, bowl)
    with pytest.raises(ConfigurationError, match="scale of 1 variables"):
        one_step(distribution, bowl)
