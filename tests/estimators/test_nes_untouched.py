"""What an update of NES leaves as it is: rows, statistics, frozen layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from black_box import losses_of, noise

import tfnes
from tfnes.estimators import NES


class Table(tfnes.NESModel):
    """Look-ups in one table, squared and added up."""

    def __init__(self):
        network = keras.Sequential(
            [keras.Input([3], dtype="int32"), keras.layers.Embedding(6, 2)]
        )

        def loss(batch, seed):
            del seed
            rows = network(batch["ids"])
            return tf.reduce_sum((rows - 1.0) ** 2, axis=[1, 2])

        super().__init__(network, loss=loss)

    def touched_rows(self, batch):
        return [(self.network.layers[0].embeddings, batch["ids"])]


@pytest.mark.parametrize(
    "optimizer",
    [
        keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1),
        keras.optimizers.AdamW(0.1, weight_decay=0.1, amsgrad=True),
        keras.optimizers.RMSprop(0.1, momentum=0.5, global_clipnorm=0.1),
    ],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_rows_that_a_batch_does_not_touch_stay(optimizer):
    model = Table()
    model.compile(optimizer, NES(population_size=8, sigma=0.1))
    table = model.network.layers[0].embeddings

    def run(ids):
        data = tf.data.Dataset.from_tensors({"ids": tf.constant(ids, tf.int32)})
        model.fit(data.repeat(2), verbose=0)
        slots = [v.numpy() for v in optimizer.variables if v.shape == table.shape]
        return table.numpy(), slots

    # All rows once, so that slots hold momentum that would move them.
    before, slots_before = run([[0, 1, 2], [3, 4, 5]])
    after, slots_after = run([[1, 1, 4], [4, 1, 4]])
    rows, touched = [0, 2, 3, 5], [1, 4]
    np.testing.assert_array_equal(after[rows], before[rows])
    assert np.all(after[touched] != before[touched])
    assert slots_after
    for old, new in zip(slots_before, slots_after, strict=True):
        np.testing.assert_array_equal(new[rows], old[rows])
    assert any(
        np.any(new[touched] != old[touched])
        for old, new in zip(slots_before, slots_after, strict=True)
    )


def test_noise_and_gradient_are_for_touched_rows_alone():
    model = Table()
    nes = NES(population_size=8, sigma=0.1)
    nes.build(model)
    batch = {"ids": tf.constant([[4, 1, 4]])}
    result = nes.estimate(model, batch, seed=tfnes.random.make_seed(3))
    gradient = result.gradients[0].numpy()
    assert np.all(gradient[[0, 2, 3, 5]] == 0)
    assert np.all(gradient[[1, 4]] != 0)
    # Two rows of two numbers, in order of first appearance.
    w = noise(3, 4, 4)
    start = model.network.layers[0].embeddings.numpy()[[4, 1]].reshape(-1)

    def loss(x):
        rows = tf.reshape(x, [2, 2])
        return tf.reduce_sum((tf.gather(rows, [0, 1, 0]) - 1.0) ** 2)

    plus, minus = losses_of(loss, start, 0.1, w)
    expected = ((plus - minus)[:, None] * w).sum(0) / (8 * 0.1)
    expected /= np.concatenate([plus, minus]).std()
    np.testing.assert_allclose(
        gradient[[4, 1]].reshape(-1), expected, rtol=2e-3, atol=1e-3
    )


def test_batch_statistics_advance_once_and_are_not_perturbed():
    def network():
        keras.utils.set_random_seed(0)
        layers = [keras.Input([3]), keras.layers.Dense(4), norm()]
        return keras.Sequential([*layers, keras.layers.Dropout(0.5)])

    def norm():
        return keras.layers.BatchNormalization(momentum=0.5)

    inputs = tf.random.stateless_normal([16, 3], [0, 1])
    trained, reference = network(), network()

    def loss(batch, seed):
        return tf.reduce_sum(trained(batch["x"], training=True) ** 2, axis=1)

    model = tfnes.NESModel(trained, loss=loss)
    model.compile(keras.optimizers.SGD(0.01), NES(population_size=6, sigma=0.5))
    data = tf.data.Dataset.from_tensors({"x": inputs})
    model.fit(data, verbose=0)
    reference(inputs, training=True)
    for name in ("moving_mean", "moving_variance"):
        ours, theirs = (getattr(n.layers[1], name) for n in (trained, reference))
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_frozen_variables_stay():
    model = tfnes.models.MLP(hidden_units=3, input_size=5)
    batch = {"image": tf.ones([4, 5])}
    model.decoder.trainable = False
    model.compile(keras.optimizers.Adam(0.1), NES(population_size=4))
    model(batch)
    before = [v.numpy() for v in model.decoder.variables]
    encoder = [v.numpy() for v in model.encoder.variables]
    model.fit(tf.data.Dataset.from_tensors(batch), verbose=0)
    for old, new in zip(before, model.decoder.variables, strict=True):
        np.testing.assert_array_equal(new, old)
    assert any(
        np.any(new != old)
        for old, new in zip(encoder, model.encoder.variables, strict=True)
    )
