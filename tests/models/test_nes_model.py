import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnes
from tfnes.errors import ConfigurationError
from tfnes.estimators import NES


def test_learns_a_loss_without_a_gradient_from_pairs():
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input([2]), keras.layers.Dense(1)])

    def wrong_sign(batch, seed):
        x, y = batch
        return tf.cast(network(x)[:, 0] * y < 0, tf.float32)

    model = tfnes.NESModel(network, loss=wrong_sign)
    model.compile(keras.optimizers.Adam(0.1), NES(population_size=20))
    x = np.random.default_rng(0).normal(size=[64, 2]).astype("float32")
    y = np.sign(x[:, 0] - 2 * x[:, 1])
    history = model.fit(x, y, epochs=20, batch_size=32, verbose=0).history
    assert history["loss"][-1] < 0.1
    result = model.evaluate(x, y, verbose=0, return_dict=True)
    assert set(result) == {"loss"}
    predicted = model.predict(x, verbose=0)[:, 0]
    np.testing.assert_allclose(np.mean(predicted * y < 0), result["loss"], atol=1e-6)


def test_noise_in_the_loss_is_shared_by_the_population_and_changes_with_the_step():
    network = keras.Sequential([keras.Input([1]), keras.layers.Dense(1)])

    def noise_alone(batch, seed):
        return tf.random.stateless_normal(tf.shape(batch["x"])[:1], seed)

    model = tfnes.NESModel(network, loss=noise_alone)
    model.compile(keras.optimizers.SGD(0.1), NES(population_size=6))
    batch = {"x": tf.ones([4, 1])}
    logs = [model.train_on_batch(batch, return_dict=True) for _ in range(2)]
    assert logs[0]["population_std"] == 0
    assert logs[0]["loss"] != logs[1]["loss"]


def test_a_network_that_is_not_built_is_built_by_fit():
    network = keras.Sequential([keras.layers.Dense(1)])

    def loss(batch, seed):
        return tf.reduce_sum(network(batch["x"]) ** 2, axis=1)

    model = tfnes.NESModel(network, loss=loss)
    model.compile(keras.optimizers.SGD(0.01), NES(population_size=4))
    data = tf.data.Dataset.from_tensors({"x": tf.ones([4, 3])})
    model.fit(data, verbose=0)
    assert network.built and model.optimizer.iterations == 1


def test_errors_say_what_to_do():
    network = keras.Sequential([keras.Input([1]), keras.layers.Dense(1)])
    with pytest.raises(ConfigurationError, match="must be a function"):
        tfnes.NESModel(network, loss="mse")
    model = tfnes.NESModel(network, loss=lambda batch, seed: tf.reduce_mean(batch))
    with pytest.raises(ConfigurationError, match="one number for each example"):
        model.elbo(tf.ones([2]), seed=tfnes.random.make_seed(0))
    with pytest.raises(NotImplementedError, match=r"Save model\.network"):
        model.get_config()
