import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnes
from tfnes.estimators import (
    NVIL,
    REINFORCE,
    BatchMean,
    Exact,
    ExponentialMovingAverage,
    LeaveOneOut,
)
from tfnes.structures import Categorical, DependencyTree, SpanningTree, Subset
from tfnes.testing import check_estimator

BATCH = {"x": tf.range(4)}


def toy(structure, table, function, kl=None):
    from toy_models import TableVAE

    return TableVAE(structure, table, function, kl)


def one_estimate(*args, **kwargs):
    from toy_models import estimate

    return estimate(*args, **kwargs)


@pytest.mark.parametrize(
    ("estimator", "structure", "kl"),
    [
        (REINFORCE(), Categorical(), "perturb_and_map"),
        (REINFORCE(density="structure"), Categorical(), "gumbel"),
        (REINFORCE(control_variate=BatchMean()), Categorical(), "gumbel"),
        (
            REINFORCE(control_variate=ExponentialMovingAverage(0.9)),
            Categorical(),
            "none",
        ),
        (NVIL(normalize_variance=False), Categorical(), "perturb_and_map"),
        (REINFORCE(control_variate=BatchMean()), SpanningTree(), "perturb_and_map"),
        (REINFORCE(control_variate=LeaveOneOut(3)), SpanningTree(), "gumbel"),
        (
            REINFORCE(control_variate=LeaveOneOut(3), density="structure"),
            SpanningTree(),
            "perturb_and_map",
        ),
        (REINFORCE(control_variate=LeaveOneOut(2)), Subset(2), "perturb_and_map"),
    ],
)
def test_mean_is_the_exact_gradient(estimator, structure, kl):
    check_estimator(estimator, structure=structure, kl=kl, num_updates=1200)


def test_exact_has_neither_bias_nor_variance():
    (report,) = check_estimator(Exact(), num_updates=2)
    assert report.variance < 1e-9
    assert report.bias < 1e-5
    with pytest.raises(AssertionError, match="standard errors off"):
        check_estimator(Exact(num_nodes=4), structure=SpanningTree(), num_updates=2)
    check_estimator(
        Exact(num_nodes=4), structure=SpanningTree(), law="gibbs", num_updates=2
    )


def test_normalized_signal_is_exact_up_to_scale():
    check_estimator(NVIL(), kl="none", up_to_scale=True, num_updates=1200)


def test_the_check_tells_the_two_laws_of_a_tree_apart():
    with pytest.raises(AssertionError, match="standard errors off"):
        check_estimator(
            REINFORCE(control_variate=LeaveOneOut(4), density="structure"),
            structure=SpanningTree(),
            law="perturb_and_map",
        )


def test_the_check_finds_the_bias_of_the_plain_batch_mean():
    # (1 - 1/B) times the gradient of the score's term.
    with pytest.raises(AssertionError, match="standard errors off"):
        check_estimator(
            REINFORCE(control_variate=BatchMean(leave_one_out=False)), kl="gumbel"
        )


def test_score_of_the_perturbed_weights_is_that_of_the_gumbel_density():
    table = np.random.default_rng(0).normal(size=(4, 6))
    model = toy(
        SpanningTree(),
        table,
        lambda batch, z: -tf.reduce_sum(z * [1, 2, 3, 4, 5, 6], 1),
    )
    found, gradients = one_estimate(REINFORCE(), model, BATCH, seed=3)
    noise = model.structure.noise(
        tf.zeros([4, 6]),
        seed=tfnes.random.fold_in(tfnes.random.make_seed(3), 2),
    )
    w = tf.constant(table, tf.float32) + noise
    losses = tf.reduce_sum(model.structure.argmax(w) * [1, 2, 3, 4, 5, 6], 1)
    h = tf.Variable(table, dtype=tf.float32)
    with tf.GradientTape() as tape:
        # log density of Gumbel(location h) at w.
        log_density = tf.reduce_sum(-(w - h) - tf.exp(-(w - h)), axis=1)
        surrogate = tf.reduce_mean(losses * log_density)
    expected = tape.gradient(surrogate, h)
    np.testing.assert_allclose(gradients["table"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.loss, tf.reduce_mean(losses), rtol=1e-6)


def test_parts_that_no_tree_holds_get_no_gradient():
    model = toy(
        DependencyTree(),
        np.zeros([4, 4, 4]),
        lambda batch, z: -tf.reduce_sum(z[:, 0], axis=1),
    )
    batch = {**BATCH, "lengths": tf.constant([3, 3, 3, 2])}
    _, gradients = one_estimate(REINFORCE(), model, batch)
    gradient = gradients["table"].numpy()
    assert not gradient[3, 3].any(), "padding"
    assert not gradient[3, :, 3].any(), "padding"
    gradient = gradient[:3]
    assert not gradient[:, :, 0].any(), "arcs into the root"
    assert not gradient[:, range(4), range(4)].any(), "self-loops"
    assert gradient[:, 0, 1:].all()


@pytest.mark.parametrize(
    "estimator",
    [
        REINFORCE(control_variate=BatchMean()),
        REINFORCE(control_variate=ExponentialMovingAverage()),
        REINFORCE(control_variate=LeaveOneOut(3)),
        REINFORCE(control_variate=LeaveOneOut(3), density="structure"),
        NVIL(),
    ],
)
def test_constant_loss_gives_no_gradient(estimator):
    table = np.random.default_rng(1).normal(size=(4, 5))
    model = toy(Categorical(), table, lambda batch, z: -5.0 + 0 * z[:, 0])
    for seed in range(3):
        found, gradients = one_estimate(estimator, model, BATCH, seed=seed)
        np.testing.assert_allclose(gradients["table"], 0, atol=1e-5)
        np.testing.assert_allclose(found.loss, 5, rtol=1e-6)


def test_kl_without_z_is_differentiated_exactly_and_is_no_signal():
    table = np.random.default_rng(2).normal(size=(4, 5))

    def function(batch, z):
        return -z[:, 0]

    def analytic(h, z):
        return 100 * tf.reduce_sum(tf.square(h), axis=1)

    def of_z(h, z):
        return tf.reduce_sum(h * z, axis=1)

    gradients = {}
    for kl in (None, analytic, of_z):
        model = toy(Categorical(), table, function, kl)
        _, gradients[kl] = one_estimate(REINFORCE(), model, BATCH)
    np.testing.assert_allclose(
        gradients[analytic]["table"] - gradients[None]["table"],
        200 * table / 4,
        rtol=1e-3,
    )
    # <z, h> adds its value to the signal and z to the gradient.
    noise = Categorical().noise(
        tf.zeros([4, 5]), seed=tfnes.random.fold_in(tfnes.random.make_seed(0), 2)
    )
    z = Categorical().argmax(table.astype(np.float32) + noise).numpy()
    value = (z * table).sum(1, keepdims=True)
    expected = (value * (1 - np.exp(-noise)) + z) / 4
    np.testing.assert_allclose(
        gradients[of_z]["table"] - gradients[None]["table"], expected, atol=1e-4
    )


def test_samples_of_an_example_are_folded_into_the_batch():
    model = toy(Categorical(), np.zeros([4, 5]), lambda batch, z: z[:, 0])
    model.compile(keras.optimizers.SGD(), REINFORCE(control_variate=LeaveOneOut(7)))
    model.decoded_sizes.clear()
    one_estimate(model.estimator, model, BATCH)
    assert model.decoded_sizes == [28]
    assert model.estimator.evaluations_per_step == 7


def test_samples_differ_and_the_draws_follow_the_index():
    seen = []

    def function(batch, z):
        seen.append(z.numpy())
        return z[:, 0]

    estimator = REINFORCE(control_variate=LeaveOneOut(8))
    model = toy(Categorical(), np.zeros([4, 50]), function)
    one_estimate(estimator, model, {"x": tf.range(4), "index": tf.range(4)})
    one_estimate(
        estimator, model, {"x": tf.constant([2, 0]), "index": tf.constant([2, 0])}
    )
    choices = seen[0].reshape(4, 8, 50).argmax(-1)
    assert len(set(choices.ravel())) > 15
    np.testing.assert_array_equal(seen[1].reshape(2, 8, 50).argmax(-1), choices[[2, 0]])


@pytest.mark.parametrize("density", ["perturbed_weights", "structure"])
@pytest.mark.parametrize(
    "control_variate",
    [BatchMean(), ExponentialMovingAverage(), LeaveOneOut(2), None],
)
def test_padding_counts_nowhere(density, control_variate):
    table = np.random.default_rng(3).normal(size=(5, 6))

    def function(batch, z):
        return -tf.cast(batch["x"], tf.float32) * z[:, 0]

    results = []
    for extra in (0, 1):
        estimator = REINFORCE(control_variate=control_variate, density=density)
        estimator = REINFORCE.from_config(estimator.get_config())
        model = toy(Categorical(), table, function)
        batch = {
            "x": tf.range(3 + extra),
            "lengths": tf.constant([6, 4, 3, 0][: 3 + extra]),
            "index": tf.range(3 + extra),
        }
        if density == "structure" and extra:
            # Samplers key their draws by position: the row is at the end.
            assert batch["lengths"][-1] == 0
        for seed in range(2):
            found, gradients = one_estimate(estimator, model, batch, seed=seed)
        results.append((found.loss.numpy(), gradients["table"].numpy()))
        assert not results[-1][1][1, 4:].any(), "padded categories"
        assert not results[-1][1][3:].any(), "the empty example"
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-6)
    np.testing.assert_allclose(results[0][1], results[1][1], atol=1e-6)


def test_not_finite_is_told_and_leaves_the_state():
    bad = tf.Variable(False)

    def function(batch, z):
        return tf.where(bad, np.nan, -z[:, 0])

    model = toy(Categorical(), np.zeros([4, 3]), function)
    estimator = NVIL()
    found, _ = one_estimate(estimator, model, BATCH)
    assert found.finite
    before = [variable.numpy() for variable in estimator.variables]
    bad.assign(True)
    found, _ = one_estimate(estimator, model, BATCH, seed=1)
    assert not found.finite
    for variable, value in zip(estimator.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_frozen_variables_are_left_out():
    model = tfnes.models.MLP(hidden_units=4, input_size=6)
    batch = {"image": tf.ones([3, 6])}
    model(batch)
    model.decoder.trainable = False
    found, _ = one_estimate(REINFORCE(), model, batch)
    assert {id(v) for v in found.variables} == {
        id(v) for v in model.encoder.trainable_variables
    }


def test_density_of_the_structure_needs_its_abilities():
    class Argmax(tfnes.structures.Structure):
        def argmax(self, log_potentials, *, lengths=None):
            return log_potentials

        log_count = contains = argmax

    model = toy(Argmax(), np.zeros([4, 3]), lambda batch, z: z[:, 0])
    message = (
        r"REINFORCE\(density='structure'\) needs marginals.*"
        r"Structures with marginals: Categorical.*SpanningTree"
    )
    with pytest.raises(tfnes.errors.UnsupportedStructureError, match=message):
        model.compile(keras.optimizers.SGD(), REINFORCE(density="structure"))
    model.compile(keras.optimizers.SGD(), REINFORCE())


@pytest.mark.parametrize(
    "make",
    [
        lambda: REINFORCE(density="gumbel"),
        lambda: REINFORCE(control_variate="batch"),
        lambda: LeaveOneOut(1),
        lambda: ExponentialMovingAverage(1.0),
        lambda: NVIL(decay=-0.1),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(tfnes.errors.ConfigurationError, match="Received"):
        make()
