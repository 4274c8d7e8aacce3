"""The smoothed loss, against closed forms and against plain perturbations."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnes
from tfnes import random
from tfnes.estimators.nes.smoothing import smoothed_loss


@tfnes.register("model", package="test_smoothing")
class Quadratic(tfnes.models.StructuredVAE):
    """-log p(x | z) = |w - x|^2 / 2 + a w[0], whatever z is."""

    def __init__(self, structure=None, *, slope=0.0, **kwargs):
        super().__init__(structure or tfnes.structures.Categorical(), **kwargs)
        self.slope = slope
        self.w = self.add_weight(name="w", shape=(20,), initializer="ones")

    def encode(self, batch, *, training=False):
        return tf.zeros([tf.shape(batch["x"])[0], 2])

    def log_likelihood(self, batch, latent, *, training=False):
        w = tf.convert_to_tensor(self.w)
        square = tf.reduce_sum((w - batch["x"]) ** 2, axis=1) / 2
        return -(square + self.slope * w[0])


def model_and_batch(**kwargs):
    model = Quadratic(**kwargs)
    batch = {"x": tf.constant(np.random.default_rng(0).normal(size=(3, 20)), "float32")}
    model.build(batch)
    return model, batch


def test_a_quadratic_is_raised_by_half_its_trace():
    # E |w + sigma n - x|^2 / 2 = |w - x|^2 / 2 + sigma^2 d / 2, and the slope cancels.
    model, batch = model_and_batch(slope=1e4)
    result = tf.function(
        lambda: smoothed_loss(
            model, batch, sigma=0.3, num_perturbations=2000, seed=random.make_seed(3)
        )
    )()
    np.testing.assert_allclose(
        result.loss, -model.log_likelihood(batch, None), rtol=1e-6
    )
    gap = (result.smoothed - result.loss).numpy()
    # Of n pairs the mean of sigma^2 |w|^2 / 2 has this deviation.
    deviation = 0.3**2 / 2 * np.sqrt(2 * 20 / 1000)
    assert np.all(np.abs(gap - 0.3**2 * 20 / 2) < 4 * deviation + 4e-3)
    np.testing.assert_allclose(result.error, deviation, rtol=0.3)


def test_agrees_with_perturbing_the_weights_by_hand():
    keras.utils.set_random_seed(1)
    model = tfnes.models.MLP(hidden_units=3, input_size=4, num_categories=2)
    batch = {"image": tf.constant([[0.0, 1, 1, 0], [1, 1, 1, 1]])}
    model(batch)
    seed = random.make_seed(7)
    name = "expected_neg_elbo"
    result = tf.function(
        lambda: smoothed_loss(
            model, batch, sigma=0.5, num_perturbations=600, loss=name, seed=seed
        )
    )()
    plain = tf.function(lambda: model.test_losses(batch, seed=seed)[name])
    before = [v.numpy() for v in model.trainable_variables]
    rng = np.random.default_rng(2)
    losses = []
    for _ in range(600):
        for variable, value in zip(model.trainable_variables, before, strict=True):
            variable.assign(value + 0.5 * rng.normal(size=value.shape))
        losses.append(plain().numpy())
    losses = np.array(losses)
    error = np.hypot(losses.std(0) / np.sqrt(600), result.error)
    assert np.all(np.abs(losses.mean(0) - result.smoothed) < 4 * error)
    assert np.all(result.error < losses.std(0) / np.sqrt(600) * 1.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"num_perturbations": 7}, "even"), ({"loss": "elbo"}, "neg_elbo, ")],
)
def test_wrong_arguments(arguments, message):
    model, batch = model_and_batch()
    with pytest.raises(tfnes.errors.ConfigurationError, match=message):
        smoothed_loss(model, batch, sigma=0.1, seed=random.make_seed(0), **arguments)


def test_callback_logs_the_gap_every_so_many_epochs():
    class Points(tfnes.datasets.DatasetProvider):
        splits = ("test",)

        def num_examples(self, split):
            return 3

        def get_dataset(self, split, *, batch_size, **arguments):
            return tf.data.Dataset.from_tensors(batch).unbatch().batch(batch_size)

    model, batch = model_and_batch()
    callback = tfnes.callbacks.SmoothingGap(
        dataset=Points(), sigma=0.3, num_perturbations=400, every=2
    )
    callback.set_model(model)
    logs = [{}, {}, {}]
    for epoch, log in enumerate(logs):
        callback.on_epoch_end(epoch, log)
    assert logs[0] == logs[2] and not logs[1]
    np.testing.assert_allclose(logs[0]["test/smoothing_gap"], 0.9, rtol=0.1)
    assert 0 < logs[0]["test/smoothing_gap_error"] < 0.05
    with pytest.raises(tfnes.errors.ConfigurationError, match="every"):
        tfnes.callbacks.SmoothingGap(dataset=Points(), every=0)
