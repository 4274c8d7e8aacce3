"""Every layer's rule: the mean gradient of many updates is that of the loss."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnes
from tfnes import random
from tfnes.errors import ConfigurationError
from tfnes.estimators import NES
from tfnes.estimators.nes.activation_noise import assign_rules

layers = keras.layers
RNG = np.random.default_rng(0)
TOKENS = np.array([[1, 2, 1, 4], [3, 3, 0, 2], [4, 1, 2, 0]])
SEQUENCES = RNG.normal(size=(3, 4, 3)).astype("float32")
WIDE = RNG.normal(size=(3, 12, 3)).astype("float32")
IMAGES = RNG.normal(size=(3, 5, 5, 2)).astype("float32")
ROWS = RNG.normal(size=(3, 4)).astype("float32")

# name: (layers, inputs)
CASES = {
    "dense": (lambda: [layers.Dense(3, activation="tanh"), layers.Dense(2)], ROWS),
    "dense_no_bias": (lambda: [layers.Dense(2, use_bias=False)], ROWS),
    "dense_few_positions": (lambda: [layers.Dense(2)], SEQUENCES),
    "dense_many_positions": (lambda: [layers.Dense(2)], WIDE),
    "einsum": (
        lambda: [layers.EinsumDense("abc,cde->abde", (None, 2, 2), bias_axes="de")],
        SEQUENCES,
    ),
    "embedding": (lambda: [layers.Embedding(5, 2)], TOKENS),
    "convolution": (
        lambda: [layers.Conv2D(3, 2, strides=2, activation="tanh")],
        IMAGES,
    ),
    "convolution_1d": (lambda: [layers.Conv1D(2, 3, padding="same")], SEQUENCES),
    "depthwise": (lambda: [layers.DepthwiseConv2D(2)], IMAGES),
    "layer_norm": (lambda: [layers.LayerNormalization()], SEQUENCES),
    "batch_norm": (lambda: [layers.BatchNormalization()], ROWS),
    "lstm": (lambda: [layers.LSTM(2, return_sequences=True)], SEQUENCES),
    "lstm_backwards": (lambda: [layers.LSTM(2, go_backwards=True)], SEQUENCES),
    "gru": (lambda: [layers.GRU(2)], SEQUENCES),
    "masked": (
        lambda: [layers.Embedding(5, 2, mask_zero=True), layers.LSTM(2)],
        TOKENS,
    ),
    "bidirectional": (
        lambda: [layers.Bidirectional(layers.GRU(2, return_sequences=True))],
        SEQUENCES,
    ),
}


def make_model(name):
    """Returns a model with a quadratic loss of each example, and its batch."""
    build, inputs = CASES[name]
    keras.utils.set_random_seed(1)
    generator = np.random.default_rng(1)
    network = keras.Sequential(build())
    network.build(inputs.shape)
    for variable in network.trainable_variables:
        variable.assign(variable + 0.3 * generator.normal(size=variable.shape))
    target = tf.constant(np.random.default_rng(2).normal(size=network(inputs).shape))

    def loss(batch, seed):
        outputs = network(batch["x"], training=name != "batch_norm")
        error = tf.square(outputs - tf.cast(target, outputs.dtype))
        return tf.reduce_sum(error, list(range(1, error.shape.rank)))

    return tfnes.NESModel(network, loss=loss), {"x": tf.constant(inputs)}


def flat(tensors):
    return tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)


def exact(model, batch):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model.elbo(batch, seed=random.make_seed(0)).neg_elbo)
    values = [variable.value for variable in model.elbo_variables]
    return flat(tf.convert_to_tensor(g) for g in tape.gradient(loss, values)).numpy()


def mean_update(nes, model, batch, updates):
    """Returns mean and standard error of (mean fitness, gradient)."""
    nes.build(model)
    mean, variance = tfnes.testing.update_moments(
        nes, model, batch, num_updates=updates, first="population_mean"
    )
    return mean, np.sqrt(variance / (updates - 1))


def check(mean, expected, error, name):
    scale = np.abs(expected).max()
    off = np.maximum(np.abs(mean - expected) - 2e-3 * scale, 0) / (error + 1e-9)
    assert off.max() < 4.5, (name, off.max(), mean, expected, error)
    # Of many coordinates at once: a wrong factor shows here first.
    assert np.sqrt(np.mean(off**2)) < 1.6, (name, mean, expected)
    assert np.linalg.norm(error) < 0.5 * np.linalg.norm(expected), name


BY_MEMBER = ("dense", "dense_few_positions", "convolution", "embedding", "lstm", "gru")


@pytest.mark.parametrize(
    ("name", "granularity"),
    [
        *((name, "example") for name in sorted(CASES)),
        *((name, "member") for name in BY_MEMBER),
    ],
)
def test_mean_gradient_is_exact_as_sigma_shrinks(name, granularity):
    model, batch = make_model(name)
    ruled, rest, _ = assign_rules(model, model.elbo_variables)
    assert ruled and not rest
    nes = NES(
        population_size=8,
        sigma=0.01,
        noise="activations",
        granularity=granularity,
        without_rule="error",
        fitness_shaping="identity",
    )
    updates = 300 if granularity == "example" else 800
    mean, error = mean_update(nes, model, batch, updates)
    check(mean[1:], exact(model, batch), error[1:], name)


@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU])
def test_one_noise_for_the_batch_varies_as_noise_on_the_weights(kind):
    """With one for each of the 96 steps the variance is five to ten times as large."""
    keras.utils.set_random_seed(1)
    network = keras.Sequential([kind(2, return_sequences=True)])
    inputs = np.random.default_rng(3).normal(size=(24, 4, 3)).astype("float32")
    network.build(inputs.shape)
    model = tfnes.NESModel(
        network,
        loss=lambda batch, seed: tf.reduce_sum((network(batch["x"]) - 1) ** 2, [1, 2]),
    )
    common = {"sigma": 0.01, "fitness_shaping": "identity", "population_size": 8}
    batch = {"x": tf.constant(inputs)}
    _, plain = mean_update(NES(**common), model, batch, 200)
    _, error = mean_update(NES(noise="activations", **common), model, batch, 200)
    ratio = np.sum(error[1:] ** 2) / np.sum(plain[1:] ** 2)
    assert 0.6 < ratio < 1.6


def check_encoder(model, batch, *, name, granularity="example", updates=300):
    """Every variable has a rule, and the mean is exact."""
    _, rest, _ = assign_rules(model, model.elbo_variables)
    assert not rest
    nes = NES(
        population_size=8,
        sigma=0.01,
        noise="activations",
        granularity=granularity,
        without_rule="error",
        fitness_shaping="identity",
    )
    mean, error = mean_update(nes, model, batch, updates)
    check(mean[1:], exact(model, batch), error[1:], name)


THOROUGH = [pytest.mark.reliability, pytest.mark.thorough]


@pytest.mark.parametrize(
    ("granularity", "updates"),
    [("example", 300), pytest.param("member", 1500, marks=THOROUGH)],
)
def test_parser_is_exact_as_sigma_shrinks(granularity, updates):
    """With a smooth stand-in for the ELBO: sums of the arc scores."""
    data = tfnes.datasets.DemoTreebank(seed=0)
    keras.utils.set_random_seed(0)
    parser = tfnes.models.Parser(
        tfnes.structures.DependencyTree(),
        embedding_size=2,
        hidden_size=2,
        num_layers=2,
        scorer_size=2,
        decoder_size=2,
    )
    parser.adapt(data)
    batch = next(iter(data.get_dataset("source_train", batch_size=3)))
    variables = [v for v in parser.elbo_variables if "encoder" in v.path]

    def loss(batch, seed):
        scores = parser.encode(batch)
        return tf.reduce_sum(tf.square(scores - 1.0), [1, 2])

    class Scores(tfnes.NESModel):
        elbo_variables = property(lambda self: variables)

        def example_weights(self, batch):
            return tf.ones([3])

    model = Scores(parser, loss=loss)
    check_encoder(model, batch, name="parser", granularity=granularity, updates=updates)


def test_nri_encoder_is_exact_as_sigma_shrinks():
    keras.utils.set_random_seed(0)
    model = tfnes.models.NRI(hidden_units=2)
    positions = np.random.default_rng(0).normal(size=(3, 4, 4, 2)).astype("float32")
    batch = {"positions": tf.constant(positions)}
    model.build(batch)
    encoder = model.encoder
    variables = [v for v in encoder.trainable_variables if "norm" not in v.path]

    def loss(batch, seed):
        # In evaluation mode: batch statistics, constants to NES, are not to the tape.
        return tf.reduce_sum(tf.square(encoder(batch["positions"])), 1)

    class Encoder(tfnes.NESModel):
        elbo_variables = property(lambda self: variables)

    model = Encoder(encoder, loss=loss)
    check_encoder(model, batch, name="nri")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        # Two layers: behind the first the pair's mean is biased, at this sigma by
        # many standard errors.
        ("dense", {"granularity": "example", "baseline": "leave_one_out"}),
        ("dense", {"baseline": "leave_one_out"}),
        ("dense_few_positions", {"granularity": "example"}),
        ("dense_few_positions", {}),
        ("embedding", {"granularity": "example"}),
    ],
)
def test_law_is_that_of_noise_on_the_weights(name, settings):
    """At a sigma that bends the loss: equal mean fitness and mean gradient."""
    model, batch = make_model(name)
    common = {"sigma": 0.5, "fitness_shaping": "identity", "population_size": 8}
    plain, plain_error = mean_update(NES(**common), model, batch, 1500)
    nes = NES(noise="activations", **common, **settings)
    mean, error = mean_update(nes, model, batch, 600)
    off = np.abs(mean - plain) / np.sqrt(error**2 + plain_error**2)
    assert off.max() < 4.5, (off, mean, plain)
    assert np.sqrt(np.mean(off**2)) < 1.6
    assert plain_error[0] < 0.05 * plain[0]


@pytest.mark.parametrize("granularity", ["example", "member"])
def test_low_rank_noise_has_the_mean_gradient_of_a_quadratic(granularity):
    model, batch = make_model("dense_few_positions")
    nes = NES(
        population_size=8,
        sigma=0.1,
        noise="low_rank",
        rank=2,
        granularity=granularity,
        fitness_shaping="identity",
    )
    mean, error = mean_update(nes, model, batch, 800)
    check(mean[1:], exact(model, batch), error[1:], "low_rank")


def test_gradient_is_against_exact_on_a_categorical_vae():
    tfnes.testing.check_estimator(
        NES(
            population_size=8,
            sigma=0.01,
            noise="activations",
            granularity="example",
            exact_expectation=True,
            fitness_shaping="identity",
        ),
        law="gibbs",
        num_updates=600,
        max_bias=0.02,
        verbose=False,
    )


def test_pairs_are_exact_negatives_and_keys_decide():
    keras.utils.set_random_seed(0)
    layer = layers.Dense(2, use_bias=False)
    network = keras.Sequential([layer])
    network.build((None, 3))
    layer.kernel.assign(tf.zeros([3, 2]))
    seen = []

    def loss(batch, seed):
        outputs = network(batch["x"])
        seen.append(outputs)
        return tf.reduce_sum(outputs, 1)

    model = tfnes.NESModel(network, loss=loss)
    batch = {"x": tf.constant(ROWS[:, :3])}
    nes = NES(population_size=4, noise="activations", granularity="example")
    nes.build(model)

    def run(batch, seed):
        seen.clear()
        nes.estimate(model, batch, seed=random.make_seed(seed))
        return [value.numpy() for value in seen]

    first = run(batch, 1)
    _, plus, minus, plus_2, minus_2 = first
    np.testing.assert_array_equal(plus, -minus)
    np.testing.assert_array_equal(plus_2, -minus_2)
    assert np.all(plus != plus_2)
    np.testing.assert_array_equal(run(batch, 1), first)
    # An example's noise is keyed by its index, wherever it stands in the batch.
    moved = run({"x": batch["x"][::-1], "index": tf.constant([2, 1, 0])}, 1)
    np.testing.assert_allclose(moved[1][::-1], plus, rtol=1e-5)
    assert np.all(run(batch, 2)[1] != plus)


def test_layers_without_a_rule_get_noise_on_the_weights_or_an_error(caplog):
    class Scale(layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(name="scale", shape=(shape[-1],))

        def call(self, inputs):
            return inputs * self.scale

    network = keras.Sequential([layers.Dense(3), Scale()])
    network.build((None, 4))
    model = tfnes.NESModel(
        network, loss=lambda batch, seed: tf.reduce_sum(network(batch["x"]) ** 2, 1)
    )
    batch = {"x": tf.constant(ROWS)}
    common = {
        "population_size": 8,
        "sigma": 0.05,
        "noise": "activations",
        "granularity": "example",
        "fitness_shaping": "identity",
    }
    with caplog.at_level("INFO"):
        mean, error = mean_update(NES(**common), model, batch, 800)
    assert "no rule for" in caplog.text and "scale" in caplog.text
    check(mean[1:], exact(model, batch), error[1:], "fallback")
    nes = NES(without_rule="error", **common)
    nes.build(model)
    with pytest.raises(ConfigurationError, match=r"No rule.*scale.*perturbation_rule"):
        nes.estimate(model, batch, seed=random.make_seed(0))

    @tfnes.estimators.perturbation_rule(Scale)
    def scale(layer, noise, inputs):
        return inputs * noise.weight(layer.scale)

    mean, error = mean_update(nes, model, batch, 300)
    check(mean[1:], exact(model, batch), error[1:], "own rule")


def test_layers_are_as_before_after_an_error():
    network = keras.Sequential([layers.Dense(1)])
    network.build((None, 4))
    calls = []

    def loss(batch, seed):
        calls.append(1)
        if len(calls) > 1:
            raise RuntimeError("broken")
        return network(batch["x"])[:, 0]

    model = tfnes.NESModel(network, loss=loss)
    nes = NES(population_size=2, noise="activations", granularity="example")
    nes.build(model)
    with pytest.raises(RuntimeError, match="broken"):
        nes.estimate(model, {"x": tf.constant(ROWS)}, seed=random.make_seed(0))
    assert "call" not in vars(network.layers[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise": "white"}, "NES.noise must be one of.*'white'"),
        (
            {"granularity": "example"},
            "acts on what a layer computes.*'log_potentials', 'activations' or 'low_r",
        ),
        ({"baseline": "mean"}, "NES.baseline must be one of"),
        (
            {"baseline": "leave_one_out", "population_size": 2},
            "needs another pair.*Use 4",
        ),
        (
            {"noise": "activations", "fitness_shaping": "centered_ranks"},
            "'z_score' or 'identity'",
        ),
        ({"rank": 0}, "NES.rank must be an integer, at least 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        NES(**arguments)
