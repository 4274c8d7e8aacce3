import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnes
from tfnes.estimators import (
    NVIL,
    REINFORCE,
    BatchMean,
    ExponentialMovingAverage,
    LeaveOneOut,
)

SIGNAL = tf.constant([[1.0], [3.0], [8.0], [99.0]])
WEIGHTS = tf.constant([1.0, 1.0, 1.0, 0.0])


def center(control_variate, signal=SIGNAL, weights=WEIGHTS):
    features = tf.ones([signal.shape[0], 2])
    return control_variate.advantage(signal, weights=weights, features=features)


def test_batch_mean_leaves_the_example_itself_out():
    values = center(BatchMean()).values.numpy()[:3, 0]
    np.testing.assert_allclose(values, [1 - 5.5, 3 - 4.5, 8 - 2], rtol=1e-6)
    plain = center(BatchMean(leave_one_out=False)).values.numpy()[:3, 0]
    np.testing.assert_allclose(plain, np.array([1, 3, 8]) - 4, rtol=1e-6)


def test_batch_mean_of_a_single_example_is_no_baseline():
    values = center(BatchMean(), weights=tf.constant([1.0, 0, 0, 0])).values
    np.testing.assert_allclose(values[0, 0], 1)


def test_leave_one_out():
    signal = tf.constant([[1.0, 2.0, 6.0]])
    values = center(LeaveOneOut(3), signal, tf.ones(1)).values
    np.testing.assert_allclose(values, [[1 - 4, 2 - 3.5, 6 - 1.5]], rtol=1e-6)


@pytest.mark.parametrize("correct_start", [True, False])
def test_moving_average_is_of_past_updates(correct_start):
    control = ExponentialMovingAverage(0.9, correct_start=correct_start)
    control.create(None)
    total = weight = 0.0
    for mean in (4.0, 2.0, 7.0):
        signal = tf.constant([[mean - 1], [mean + 1]])
        advantage = center(control, signal, tf.ones(2))
        if not correct_start:
            expected = signal.numpy() - total
        elif weight:
            expected = signal.numpy() - total / weight
        else:
            expected = [[-2.0], [2.0]]
        np.testing.assert_allclose(advantage.values, expected, rtol=1e-5)
        control.update(advantage.state, finite=tf.constant(True))
        total, weight = 0.9 * total + 0.1 * mean, 0.9 * weight + 0.1


def images(num=64):
    """Images of two kinds whose losses differ by much."""
    generator = np.random.default_rng(0)
    bright = generator.integers(0, 2, size=(num, 1))
    noise = generator.random((num, 30)) < np.where(bright, 0.5, 0.02)
    return tf.data.Dataset.from_tensors({"image": tf.constant(noise, tf.float32)})


def train(estimator, epochs):
    keras.utils.set_random_seed(0)
    model = tfnes.models.MLP(hidden_units=8, input_size=30)
    model.compile(keras.optimizers.Adam(3e-3), estimator)
    return model.fit(images().repeat(epochs), verbose=0, epochs=3), model


def test_the_learned_baseline_takes_variance_away():
    learned, _ = train(NVIL(normalize_variance=False, hidden_units=(32,)), 60)
    average, _ = train(REINFORCE(control_variate=ExponentialMovingAverage(0.8)), 60)
    learned, average = (h.history["advantage_std"][-1] for h in (learned, average))
    assert learned < 0.7 * average


def test_the_variance_is_normalized_where_it_exceeds_one():
    signal = tf.constant([[-30.0], [10.0], [20.0], [-8.0]])
    control = NVIL(decay=0.5).control_variate
    control.create(None)
    for _ in range(2):
        advantage = center(control, signal, tf.ones(4))
        control.update(advantage.state, finite=tf.constant(True))
    centered = signal.numpy() + 2
    scale = np.sqrt((centered**2).mean())
    np.testing.assert_allclose(advantage.values, centered / scale, rtol=1e-4)
    # A small signal is not blown up.
    control = NVIL(decay=0.5).control_variate
    control.create(None)
    advantage = center(control, signal / 100, tf.ones(4))
    np.testing.assert_allclose(advantage.values, centered / 100, rtol=1e-4)


def test_nvil_state_is_saved_with_the_model(tmp_path):
    _, model = train(NVIL(hidden_units=(7,)), 3)
    model.save(tmp_path / "model.keras")
    restored = keras.saving.load_model(tmp_path / "model.keras")
    found, expected = (
        [v for v in each.estimator.variables if v.name != "empty_steps"]
        for each in (restored, model)
    )
    assert len(found) == len(expected) == 10
    for a, b in zip(found, expected, strict=True):
        assert np.any(b.numpy() != 0)
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    # The optimizer's moments, those of the baseline too, go on where they were.
    for a, b in zip(
        restored.optimizer.variables, model.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_the_encoder_gets_no_gradient_from_the_baseline():
    model = tfnes.models.MLP(hidden_units=4, input_size=6)
    batch = {"image": tf.ones([3, 6])}
    model(batch)
    gradients = []
    for value in (0.0, 5.0):
        estimator = NVIL(normalize_variance=False)
        model.compile(keras.optimizers.SGD(), estimator)
        seed = tfnes.random.make_seed(0)
        # Without an influence on the advantage, the loss of the baseline remains.
        estimator.control_variate.network.layers[-1].bias.assign([value])
        first = estimator.estimate(model, batch, seed=seed)
        gradients.append(first.gradients[: len(model.elbo_variables)])
    scale = np.sqrt(estimator.control_variate.variance.value.numpy())
    difference = gradients[1][1] - gradients[0][1]
    # An advantage shifted by b changes the gradient by -b times the mean score.
    noise = model.structure.noise(tf.zeros([3, 10]), seed=tfnes.random.fold_in(seed, 2))
    with tf.GradientTape() as tape:
        h = model.encode(batch)
        shift = tf.reduce_sum((1 - tf.exp(-noise)) * h) / 3 * (-5 * scale)
    expected = tape.gradient(shift, model.elbo_variables[1].value)
    np.testing.assert_allclose(difference, expected, rtol=1e-2, atol=1e-4)


def test_the_projection_does_not_depend_on_padding():
    control = NVIL().control_variate
    h = np.random.default_rng(0).normal(size=(2, 4, 4)).astype(np.float32)
    padded = np.pad(h, [(0, 0), (0, 3), (0, 3)])
    np.testing.assert_allclose(
        control._project(tf.constant(h)),
        control._project(tf.constant(padded)),
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_model_may_give_features_of_its_own():
    class Own(tfnes.models.MLP):
        def baseline_features(self, batch):
            self.asked = True
            return batch["image"][:, :2]

    model = Own(hidden_units=4, input_size=6)
    model.compile(keras.optimizers.SGD(), NVIL(), run_eagerly=True)
    model.train_step({"image": tf.ones([3, 6])})
    assert model.asked


@pytest.mark.parametrize(
    "estimator",
    [
        REINFORCE(control_variate=BatchMean(leave_one_out=False), density="structure"),
        REINFORCE(control_variate=ExponentialMovingAverage(0.5, correct_start=False)),
        REINFORCE(control_variate=LeaveOneOut(5)),
        NVIL(hidden_units=(3, 4), decay=0.5, normalize_variance=False),
    ],
)
def test_config_round_trip(estimator):
    config = keras.saving.serialize_keras_object(estimator)
    restored = keras.saving.deserialize_keras_object(config)
    assert restored.get_config() == estimator.get_config()
