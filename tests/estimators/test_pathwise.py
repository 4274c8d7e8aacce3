import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnes
from tfnes.estimators import (
    AnnealedTemperature,
    GumbelSoftmax,
    PathwiseEstimator,
    PerturbAndParse,
    SparseMAP,
    StochasticSoftmax,
)
from tfnes.structures import Categorical, DependencyTree, SpanningTree, Subset
from tfnes.testing import check_estimator

BATCH = {"x": tf.range(3)}
SEED = tfnes.random.make_seed(0)


def toy(*args):
    from toy_models import TableVAE

    return TableVAE(*args)


def one_estimate(*args, **kwargs):
    from toy_models import estimate

    return estimate(*args, **kwargs)


def quadratic(batch, z):
    flat = tf.reshape(z, [tf.shape(z)[0], -1])
    target = tf.cast(tf.range(tf.shape(flat)[1]) % 3, tf.float32)
    return -tf.square(tf.reduce_sum(flat * target, axis=1) - 1.0)


@pytest.mark.parametrize(
    ("make", "structure", "options"),
    [
        (GumbelSoftmax, Categorical(), {}),
        (StochasticSoftmax, SpanningTree(), {"straight_through": True}),
        (StochasticSoftmax, Subset(2), {"max_range": 15.0}),
        (PerturbAndParse, Categorical(), {"straight_through": True}),
        (SparseMAP, SpanningTree(), {}),
    ],
)
def test_the_bias_goes_with_the_temperature(make, structure, options):
    first, last = check_estimator(
        make(temperature=1.0, **options),
        limit=[make(temperature=0.1, **options)],
        structure=structure,
        max_bias=0.08,
        num_updates=800,
    )
    assert first.deviation > 5
    assert last.variance > first.variance


def test_the_check_refuses_a_bias():
    with pytest.raises(AssertionError, match="standard errors off"):
        check_estimator(GumbelSoftmax(), num_updates=500)
    with pytest.raises(AssertionError, match="bias grows"):
        check_estimator(
            GumbelSoftmax(temperature=0.1), limit=[GumbelSoftmax()], num_updates=500
        )


@pytest.mark.parametrize(
    ("estimator", "structure"),
    [
        (GumbelSoftmax(temperature=0.7), Categorical()),
        (StochasticSoftmax(temperature=0.7, max_range=15.0), SpanningTree()),
        (StochasticSoftmax(temperature=0.7), Subset(2)),
        (PerturbAndParse(temperature=0.7), Categorical()),
        (SparseMAP(temperature=0.7), SpanningTree()),
        (SparseMAP(temperature=0.7), DependencyTree(projective=False)),
        (PerturbAndParse(temperature=0.7), DependencyTree()),
        (StochasticSoftmax(temperature=0.7), DependencyTree(projective=False)),
    ],
)
@pytest.mark.parametrize("straight_through", [False, True])
def test_the_loss_is_the_negative_elbo_of_the_hard_sample(
    estimator, structure, straight_through
):
    config = {**estimator.get_config(), "straight_through": straight_through}
    estimator = type(estimator).from_config(config)
    shape = (3, 4, 4) if structure.parts_rank == 2 else (3, 6)
    table = np.random.default_rng(0).normal(size=shape)
    model = toy(structure, table, quadratic)
    found, gradients = one_estimate(estimator, model, BATCH)
    expected = tf.reduce_mean(model.elbo(BATCH, seed=SEED).neg_elbo)
    np.testing.assert_allclose(found.loss, expected, rtol=1e-6)
    assert found.finite
    assert np.any(gradients["table"].numpy() != 0)
    if straight_through:
        assert "relaxed_neg_elbo" not in found.metrics
    else:
        assert abs(found.metrics["relaxed_neg_elbo"] - found.loss) > 1e-3
    assert set(found.metrics) == set(estimator.metric_names(model))


def test_straight_through_decodes_the_hard_and_differentiates_the_relaxed():
    seen = []

    def linear(batch, z):
        if isinstance(z, tf.Tensor):
            seen.append(z.numpy())
        return -tf.reduce_sum(z * [1.0, 2.0, 3.0, 4.0], axis=1)

    table = np.random.default_rng(0).normal(size=(3, 4))
    gradients = {}
    for straight_through in (False, True):
        model = toy(Categorical(), table, linear)
        seen.clear()
        _, found = one_estimate(
            GumbelSoftmax(temperature=0.5, straight_through=straight_through),
            model,
            BATCH,
        )
        gradients[straight_through] = found["table"].numpy()
        exact = np.isin(seen[0], [0.0, 1.0]).all()
        assert exact == straight_through
    # The decoder is linear, so where it is evaluated does not matter.
    np.testing.assert_allclose(gradients[True], gradients[False], rtol=1e-5)


def test_gradient_is_that_of_the_relaxed_objective():
    table = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    model = toy(Categorical(), table, quadratic)
    _, gradients = one_estimate(GumbelSoftmax(temperature=0.5), model, BATCH)
    noise = model.structure.noise(
        tf.constant(table), seed=tfnes.random.fold_in(SEED, 2)
    ).numpy()
    step = 1e-2
    numeric = np.zeros_like(table)

    def objective(h):
        relaxed = tf.nn.softmax((h.astype(np.float64) + noise) / 0.5)
        return -tf.reduce_mean(quadratic(BATCH, tf.cast(relaxed, tf.float32)))

    for place in np.ndindex(*table.shape):
        shift = np.zeros_like(table)
        shift[place] = step
        numeric[place] = (objective(table + shift) - objective(table - shift)) / (
            2 * step
        )
    np.testing.assert_allclose(gradients["table"], numeric, rtol=2e-2, atol=1e-3)


def test_one_method_makes_an_estimator():
    class Identity(PathwiseEstimator):
        def relax(self, model, log_potentials, noise, lengths, *, seed):
            return log_potentials + noise

    model = toy(
        Categorical(), np.zeros([3, 4]), lambda batch, z: -tf.reduce_sum(z, axis=1)
    )
    _, gradients = one_estimate(Identity(), model, BATCH)
    np.testing.assert_allclose(gradients["table"], 1 / 3, rtol=1e-6)


def test_max_range_keeps_marginals_off_the_corners():
    model = toy(Categorical(), np.zeros([2, 3]), quadratic)
    h = tf.constant([[0.0, 100.0, 200.0], [0.0, 1.0, 2.0]])
    relaxed = {}
    for max_range in (None, 5.0):
        estimator = StochasticSoftmax(temperature=2.0, max_range=max_range)
        relaxed[max_range] = estimator.relax(model, h, 0.0 * h, None, seed=None).numpy()
    assert relaxed[None][0, 0] < 1e-20
    low = np.exp(-5) / (1 + 2 * np.exp(-5))
    np.testing.assert_allclose(relaxed[5.0][0, :2], low, rtol=1e-5)
    np.testing.assert_allclose(relaxed[5.0][1], relaxed[None][1], rtol=1e-6)


def test_max_range_does_not_look_at_padding():
    model = toy(SpanningTree(), np.zeros([1, 6]), quadratic)
    estimator = StochasticSoftmax(max_range=5.0)
    h = tf.constant([[0.3, -0.2, 500.0, 0.1, 900.0, 900.0]])
    found = estimator.relax(model, h, 0.0 * h, tf.constant([3]), seed=None)
    small = tf.constant([[0.3, -0.2, 0.1]])
    expected = SpanningTree().marginals(small)
    np.testing.assert_allclose(found.numpy()[:, [0, 1, 3]], expected, rtol=1e-5)
    assert not found.numpy()[:, [2, 4, 5]].any()


def test_sparsemap_mixes_few_structures():
    model = toy(SpanningTree(), np.zeros([3, 6]), quadratic)
    h = tf.random.stateless_normal([64, 6], seed=[0, 1])
    u = SparseMAP().relax(model, h, 0 * h, None, seed=None).numpy()
    np.testing.assert_allclose(u.sum(1), 3, rtol=1e-5)
    assert np.mean((u < 1e-6) | (u > 1 - 1e-6)) > 0.3
    # It is the nearest point: no tree lies nearer along its direction.
    trees = SpanningTree().enumerate(4)
    gain = ((h.numpy() - u)[:, None] * (trees[None] - u[:, None])).sum(-1)
    assert gain.max() < 1e-4


def test_annealed_temperature():
    schedule = AnnealedTemperature(rate=1e-3, minimum=0.3, interval=100)
    for step, expected in [(0, 1), (99, 1), (100, np.exp(-0.1)), (9999, 0.3)]:
        np.testing.assert_allclose(schedule(tf.constant(step)), expected, rtol=1e-6)


def test_temperature_follows_the_model_step():
    schedule = AnnealedTemperature(rate=0.1, minimum=0.1, interval=2)
    model = tfnes.models.MLP(hidden_units=4, input_size=6)
    model.compile(keras.optimizers.SGD(), GumbelSoftmax(temperature=schedule))
    data = tf.data.Dataset.from_tensors({"image": tf.ones([3, 6])}).repeat(2)
    temperatures = [
        model.fit(data, verbose=0).history["temperature"][0] for _ in range(3)
    ]
    np.testing.assert_allclose(temperatures, np.exp([0, -0.2, -0.4]), rtol=1e-5)


def test_saved_with_schedule(tmp_path):
    schedule = AnnealedTemperature(rate=0.1)
    model = tfnes.models.MLP(hidden_units=4, input_size=6)
    estimator = GumbelSoftmax(temperature=schedule, straight_through=True)
    model.compile(keras.optimizers.SGD(), estimator)
    model({"image": tf.ones([3, 6])})
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras").estimator
    assert restored.get_config() == estimator.get_config()
    assert isinstance(restored.temperature, AnnealedTemperature)


@pytest.mark.parametrize(
    ("estimator", "structure", "message"),
    [
        (GumbelSoftmax(), SpanningTree(), "needs the structure Categorical"),
        (StochasticSoftmax(), None, "needs marginals.*Structures with marginals: Cat"),
        (PerturbAndParse(), None, "needs a relaxed argmax.*Structures with a relaxed"),
    ],
)
def test_structures_without_the_ability_are_refused(estimator, structure, message):
    if structure is None:
        structure = tfnes.structures.BlackBox(lambda scores, length: scores > 0)
    model = toy(structure, np.zeros([3, 6]), quadratic)
    with pytest.raises(tfnes.errors.UnsupportedStructureError, match=message):
        model.compile(keras.optimizers.SGD(), estimator)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GumbelSoftmax(temperature=0.0),
        lambda: StochasticSoftmax(max_range=-1.0),
        lambda: SparseMAP(max_iterations=0),
        lambda: AnnealedTemperature(minimum=2.0),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(tfnes.errors.ConfigurationError, match="Received"):
        make()
