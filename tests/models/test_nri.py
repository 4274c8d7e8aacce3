"""The NRI model against NumPy and Keras re-implementations of its definition."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tfnes import random
from tfnes.errors import ConfigurationError
from tfnes.estimators import NES, StochasticSoftmax
from tfnes.models import NRI
from tfnes.structures import Categorical, SpanningTree, Subset
from tfnes.testing import check_model

N, T, H = 5, 7, 6
ROWS, COLUMNS = np.triu_indices(N, k=1)


def make_batch(size=3, n=N, timesteps=T, seed=0):
    positions = np.random.default_rng(seed).uniform(-1, 1, [size, timesteps, n, 2])
    return {
        "positions": tf.constant(positions, tf.float32),
        "index": tf.range(10, 10 + size),
    }


def make_model(structure=None, seed=0, **kwargs):
    keras.utils.set_random_seed(seed)
    model = NRI(structure, **{"hidden_units": H, "variance": 0.1, **kwargs})
    model.build(make_batch())
    return model


@functools.lru_cache
def shared_model():
    """For tests that leave it as it is, its rollout lengths excepted."""
    return make_model()


def with_steps(steps, evaluation_steps=1):
    model = shared_model()
    model.prediction_steps = steps
    model.evaluation_prediction_steps = evaluation_steps
    return model


def trees(size=3, seed=0):
    weights = np.random.default_rng(seed).normal(size=[size, len(ROWS)])
    return SpanningTree().argmax(tf.constant(weights, tf.float32)).numpy()


def weights_of(model):
    return {
        v.path.split("/", 1)[1]: v.numpy() for v in model.variables if "/" in v.path
    }


def numpy_step(weights, x, z):
    """One step of Kipf et al.'s decoder for one example, edge by edge."""
    w = {k.removeprefix("decoder/"): v.astype(np.float64) for k, v in weights.items()}
    adjacency = np.zeros([N, N])
    adjacency[ROWS, COLUMNS] = adjacency[COLUMNS, ROWS] = z
    incoming = np.zeros([N, H])
    for receiver in range(N):
        for sender in range(N):
            if sender == receiver:
                continue
            for kind in (0, 1):
                if f"message_{kind}_first_kernel" not in w:
                    continue
                pair = np.concatenate([x[sender], x[receiver]])
                name = f"message_{kind}"
                for layer in ("first", "second"):
                    pair = pair @ w[f"{name}_{layer}_kernel"]
                    pair = np.maximum(pair + w[f"{name}_{layer}_bias"], 0)
                weight = adjacency[receiver, sender]
                incoming[receiver] += (weight if kind else 1 - weight) * pair
    hidden = np.concatenate([x, incoming], axis=1)
    for layer in ("output_1", "output_2"):
        hidden = np.maximum(hidden @ w[f"{layer}_kernel"] + w[f"{layer}_bias"], 0)
    return x + hidden @ w["output_3_kernel"] + w["output_3_bias"]


def numpy_log_likelihood(model, positions, z, steps):
    """Rolls out time by time and goes back to the truth every `steps` steps."""
    weights = weights_of(model)
    total = 0.0
    for time in range(T - 1):
        x = positions[time] if time % steps == 0 else x  # noqa: F821
        x = numpy_step(weights, x, z)
        total += np.square(x - positions[time + 1]).sum()
    return -total / (2 * model.variance) / N


def assert_likelihoods_are_those_of_numpy(model, steps):
    batch, z = make_batch(), trees()
    positions = batch["positions"].numpy().astype(np.float64)
    expected = [
        numpy_log_likelihood(model, x, latent, steps)
        for x, latent in zip(positions, z, strict=True)
    ]
    for method in (model.log_likelihood, model.hard_log_likelihood):
        found = method(batch, tf.constant(z), training=True)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 6, 9])
def test_likelihood_is_the_rollout_with_teacher_forcing(steps):
    assert_likelihoods_are_those_of_numpy(with_steps(steps), steps)


@pytest.mark.parametrize("steps", [1, 3])
def test_absent_edges_may_send_no_messages(steps):
    model = make_model(prediction_steps=steps, skip_first=True)
    assert not any("message_0" in name for name in weights_of(model))
    assert_likelihoods_are_those_of_numpy(model, steps)
    assert NRI.from_config(model.get_config()).skip_first


def test_evaluation_tells_the_truth_at_every_step():
    batch, z = make_batch(), tf.constant(trees())
    told = with_steps(3).log_likelihood(batch, z, training=False)
    rolled = with_steps(3).log_likelihood(batch, z, training=True)
    np.testing.assert_array_equal(
        with_steps(1, 3).log_likelihood(batch, z, training=True), told
    )
    np.testing.assert_array_equal(
        with_steps(1, 3).log_likelihood(batch, z, training=False), rolled
    )
    assert np.abs(told - rolled).min() > 1e-3


def test_a_relaxed_latent_weights_both_messages():
    model = with_steps(2)
    z = np.random.default_rng(1).uniform(size=[3, len(ROWS)])
    positions = make_batch()["positions"].numpy().astype(np.float64)
    expected = [
        numpy_log_likelihood(model, x, latent, 2)
        for x, latent in zip(positions, z, strict=True)
    ]
    found = model.log_likelihood(
        make_batch(), tf.constant(z, tf.float32), training=True
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("k", [0, 1, 4, len(ROWS)])
def test_hard_and_relaxed_paths_agree_for_any_number_of_edges(k):
    decoder, positions = shared_model().decoder, make_batch()["positions"]
    weights = np.random.default_rng(k).normal(size=[3, len(ROWS)])
    z = Subset(k).argmax(tf.constant(weights, tf.float32))
    np.testing.assert_allclose(
        decoder(positions, z, num_edges=k), decoder(positions, z), rtol=1e-5
    )


def test_blocks_of_examples_change_nothing(monkeypatch):
    decoder = shared_model().decoder
    positions, z = make_batch(size=7)["positions"], tf.constant(trees(7))
    values = [v.value for v in decoder.trainable_variables]

    def errors_and_gradients(num_edges):
        with tf.GradientTape() as tape:
            tape.watch([z, values])
            errors = decoder(positions, z, prediction_steps=2, num_edges=num_edges)
        return errors, tape.gradient(errors, values if num_edges else [z, *values])

    expected, (of_z, *of_weights) = errors_and_gradients(None)
    monkeypatch.setattr("tfnes.models.nri_decoder._CHUNK_FLOATS", 1100)
    in_blocks = tf.function(errors_and_gradients, autograph=False)
    relaxed, (relaxed_of_z, *relaxed_of_weights) = in_blocks(None)
    hard, hard_of_weights = in_blocks(4)
    np.testing.assert_allclose(relaxed, expected, rtol=1e-5)
    np.testing.assert_allclose(hard, expected, rtol=1e-5)
    np.testing.assert_allclose(relaxed_of_z, of_z, rtol=1e-3, atol=1e-3)
    for gradient, first, second in zip(
        of_weights, relaxed_of_weights, hard_of_weights, strict=True
    ):
        np.testing.assert_allclose(first, gradient, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(second, gradient, rtol=1e-3, atol=1e-3)


def reference_encoder(model, positions, training):
    """Kipf et al.'s MLP encoder as a plain Keras program on explicit pairs."""
    w = {k.removeprefix("encoder/"): v for k, v in weights_of(model).items()}

    def block(i, x):
        for layer in ("first", "second"):
            x = tf.nn.elu(
                x @ w[f"block_{i}_{layer}_kernel"] + w[f"block_{i}_{layer}_bias"]
            )
        norm = keras.layers.BatchNormalization(epsilon=1e-5)
        norm.build([None, H])
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        norm.set_weights([w[f"norm_{i}/{name}"] for name in names])
        flat = norm(tf.reshape(x, [-1, H]), training=training)
        return tf.reshape(flat, tf.shape(x))

    pairs = [(s, r) for r in range(N) for s in range(N) if s != r]
    senders, receivers = (np.array(part) for part in zip(*pairs, strict=True))

    def on_pairs(x):
        return tf.concat(
            [tf.gather(x, senders, axis=1), tf.gather(x, receivers, axis=1)], axis=2
        )

    x = tf.transpose(positions, [0, 2, 1, 3])
    x = block(1, tf.reshape(x, [len(positions), N, -1]))
    edges = block(2, on_pairs(x))
    incoming = np.eye(N, dtype=np.float32)[receivers].T
    x = block(3, tf.einsum("re,beh->brh", incoming, edges) / N)
    edges = block(4, tf.concat([on_pairs(x), edges], axis=2))
    logits = (edges @ w["logit_kernel"] + w["logit_bias"])[:, :, 0].numpy()
    directed = {pair: logits[:, e] for e, pair in enumerate(pairs)}
    return np.stack(
        [
            (directed[i, j] + directed[j, i]) / 2
            for i, j in zip(ROWS, COLUMNS, strict=True)
        ],
        axis=1,
    )


@pytest.mark.parametrize("training", [True, False])
def test_encoder_is_the_factor_graph_network(training):
    model, batch = make_model(), make_batch()
    rng = np.random.default_rng(0)
    for variable in model.encoder.variables:  # no trivial scales, shifts, statistics
        variable.assign(variable + rng.uniform(0, 0.5, variable.shape))
    expected = reference_encoder(model, batch["positions"], training)
    found = model.encode(batch, training=training)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert np.ptp(expected) > 0.1


def test_moving_statistics_advance_as_in_keras_and_are_not_trained():
    model = make_model()
    norm = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    x = tf.random.stateless_normal([20, H], [1, 2]) * 3 + 1
    statistics = model.encoder.statistics[0]
    scale, shift = statistics(x, training=True)
    np.testing.assert_allclose(x * scale + shift, norm(x, training=True), atol=1e-5)
    np.testing.assert_allclose(statistics.moving_mean, norm.moving_mean, atol=1e-6)
    np.testing.assert_allclose(
        statistics.moving_variance, norm.moving_variance, atol=1e-5
    )
    moving = {id(statistics.moving_mean), id(statistics.moving_variance)}
    assert not moving & {id(v) for v in model.trainable_variables}


def test_vertices_have_no_names():
    """Permuting the vertices permutes the edges, and nothing else."""
    model, batch, z = with_steps(3), make_batch(), trees()
    order = np.array([3, 0, 4, 1, 2])
    number = np.zeros([N, N], int)
    number[ROWS, COLUMNS] = number[COLUMNS, ROWS] = np.arange(len(ROWS))
    edges = number[order[ROWS], order[COLUMNS]]
    permuted = {**batch, "positions": tf.gather(batch["positions"], order, axis=2)}
    np.testing.assert_allclose(
        model.encode(permuted), model.encode(batch).numpy()[:, edges], atol=1e-5
    )
    np.testing.assert_allclose(
        model.log_likelihood(permuted, tf.constant(z[:, edges])),
        model.log_likelihood(batch, tf.constant(z)),
        rtol=1e-5,
    )


def test_gumbel_kl_is_that_of_the_laws_over_directed_edges_per_vertex():
    model = shared_model()
    h = np.random.default_rng(0).normal(size=[3, len(ROWS)]).astype(np.float32)
    law = tfp.distributions.Gumbel
    each = tfp.distributions.kl_divergence(law(h, 1.0), law(0.0, 1.0))
    expected = 2 * tf.reduce_sum(each, axis=1) / N
    found = model.kl_divergence(tf.constant(h), tf.constant(trees()))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_perturb_and_map_kl_and_none():
    h = tf.constant(np.random.default_rng(0).normal(size=[3, 10]), tf.float32)
    z = trees()
    found = NRI(kl="perturb_and_map").kl_divergence(h, tf.constant(z))
    expected = ((z * h.numpy()).sum(axis=1) + np.log(N ** (N - 2))) / N
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    subset = make_model(Subset(4), kl="perturb_and_map").kl_divergence(
        h, tf.constant(z)
    )
    np.testing.assert_allclose(
        subset, ((z * h.numpy()).sum(axis=1) + np.log(210)) / N, rtol=1e-5
    )
    np.testing.assert_array_equal(
        NRI(kl="none").kl_divergence(h, tf.constant(z)), np.zeros(3)
    )


def test_elbo_uses_one_hard_sample_and_the_training_rollout():
    model, batch, seed = with_steps(3), make_batch(), random.make_seed(3)
    terms = model.elbo(batch, seed=seed, training=True)
    assert np.all(SpanningTree().contains(terms.latent))
    np.testing.assert_allclose(
        terms.log_likelihood,
        model.log_likelihood(batch, terms.latent, training=True),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        terms.neg_elbo,
        model.kl_divergence(terms.log_potentials, terms.latent) - terms.log_likelihood,
    )
    alone = {key: value[1:2] for key, value in batch.items()}
    latent = model.elbo(alone, seed=seed, training=False).latent
    whole = model.elbo(batch, seed=seed, training=False).latent
    np.testing.assert_array_equal(latent, whole[1:2])


def test_prediction_gives_map_and_the_sample_of_the_evaluation():
    model, batch = with_steps(3), make_batch()
    output = model.predict_batch(batch)
    expected = SpanningTree().argmax(model.encode(batch))
    np.testing.assert_array_equal(output["latent"], expected)
    seed = random.stream_seed(model.seed, 0, random.Stream.EVALUATION)
    np.testing.assert_array_equal(output["sample"], model.elbo(batch, seed=seed).latent)


def test_the_contract_of_models_is_kept():
    model = NRI(Subset(4), hidden_units=H, variance=1.0)
    estimators = [NES(population_size=4, sigma=0.01), StochasticSoftmax()]
    check_model(model, make_batch(), estimators=estimators, verbose=False)


def test_nes_moves_every_weight_and_the_statistics_once_an_update():
    model = make_model(kl="perturb_and_map")
    model.compile(keras.optimizers.SGD(1e-6), NES(population_size=4, sigma=0.01))
    before = [v.numpy() for v in model.trainable_variables]
    twin = make_model(kl="perturb_and_map")
    twin.encode(make_batch(), training=True)
    model.fit(tf.data.Dataset.from_tensors(make_batch()), verbose=0)
    for variable, value in zip(model.trainable_variables, before, strict=True):
        assert np.any(variable.numpy() != value), variable.path
    # As after one pass over the batch with the weights before the update.
    for mine, other in zip(
        model.encoder.non_trainable_variables,
        twin.encoder.non_trainable_variables,
        strict=True,
    ):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-6)


def test_configuration_survives():
    model = NRI(Subset(3), hidden_units=5, prediction_steps=2, kl="none", seed=4)
    config = keras.saving.serialize_keras_object(model)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == model.get_config()


def test_other_numbers_of_vertices_use_the_same_weights():
    model = shared_model()
    for n in (2, 3, 12):
        output = model.predict_batch(make_batch(size=2, n=n))
        assert output["latent"].shape == (2, n * (n - 1) // 2)
        assert np.all(tf.reduce_sum(output["latent"], axis=1) == n - 1)


def test_arguments_are_checked():
    with pytest.raises(ConfigurationError, match=r"NRI\.kl"):
        NRI(kl="exact")
    with pytest.raises(ConfigurationError, match=r"NRI\.prediction_steps"):
        NRI(prediction_steps=0)
    with pytest.raises(ConfigurationError, match=r"NRI\.variance"):
        NRI(variance=0.0)


def test_structures_without_a_fixed_size_go_the_general_way():
    model, batch = make_model(Categorical(), kl="none"), make_batch()
    z = tf.one_hot([0, 3, 5], len(ROWS))
    np.testing.assert_array_equal(
        model.hard_log_likelihood(batch, z), model.log_likelihood(batch, z)
    )
