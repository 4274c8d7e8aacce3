"""PackedLSTM against keras.layers.LSTM, value and gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfnes.models.layers import PackedLSTM, pack_lengths

LENGTHS = [3, 0, 6, 1, 6]
FEATURES, UNITS = 4, 3


@pytest.fixture(scope="module")
def padded():
    rng = np.random.default_rng(0)
    return tf.constant(rng.normal(size=(len(LENGTHS), 7, FEATURES)), tf.float32)


def _mask():
    return tf.sequence_mask(LENGTHS, 7)


def _random_weights(layer):
    rng = np.random.default_rng(1)
    layer.build((None, FEATURES))
    for variable in layer.trainable_variables:
        variable.assign(rng.normal(size=variable.shape) * 0.7)


def _keras_twin(layer, inputs):
    """Returns the Keras layer with the same weights."""
    lstm = keras.layers.LSTM(UNITS, return_sequences=True)
    if layer.bidirectional:
        lstm = keras.layers.Bidirectional(lstm)
    lstm(inputs)
    kernels = np.split(layer.kernel.numpy(), layer.directions, axis=1)
    weights = []
    for i, kernel in enumerate(kernels):
        weights += [kernel, layer.recurrent_kernel.numpy()[i], layer.bias.numpy()[i]]
    lstm.set_weights(weights)
    return lstm


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_equals_keras_lstm_with_mask(padded, bidirectional, compiled):
    layer = PackedLSTM(UNITS, bidirectional=bidirectional)
    _random_weights(layer)
    twin = _keras_twin(layer, padded)

    def ours(x):
        layout = pack_lengths(tf.constant(LENGTHS), 7)
        return layout.unpack(layer(layout.pack(x), layout))

    def theirs(x):
        keep = tf.cast(_mask(), tf.float32)[..., None]
        return twin(x, mask=_mask()) * keep

    def value_and_gradients(function, variables):
        with tf.GradientTape() as tape:
            tape.watch(padded)
            result = function(padded)
            loss = tf.reduce_sum(tf.sin(result * 3.0))
        return result, tape.gradient(loss, [padded, *variables])

    if compiled:
        value_and_gradients = tf.function(value_and_gradients)
    variables = [v.value for v in layer.trainable_variables]
    result, (d_x, d_kernel, d_recurrent, d_bias) = value_and_gradients(ours, variables)
    expected, (d_x2, *rest) = value_and_gradients(
        theirs, [v.value for v in twin.trainable_variables]
    )
    np.testing.assert_allclose(result, expected, atol=1e-6)
    np.testing.assert_allclose(d_x, d_x2, atol=1e-5)
    np.testing.assert_allclose(d_kernel, np.concatenate(rest[0::3], 1), atol=1e-5)
    np.testing.assert_allclose(d_recurrent, np.stack(rest[1::3]), atol=1e-5)
    np.testing.assert_allclose(d_bias, np.stack(rest[2::3]), atol=1e-5)


def test_distinct_rows_are_projected_once():
    layer = PackedLSTM(UNITS)
    _random_weights(layer)
    layout = pack_lengths(tf.constant([4, 2]), 4)
    rows = tf.random.stateless_normal([3, FEATURES], [1, 2])
    places = tf.constant([0, 2, 1, 1, 0, 2])
    np.testing.assert_allclose(
        layer(rows, layout, places), layer(tf.gather(rows, places), layout), atol=1e-6
    )


def test_extra_padding_changes_nothing(padded):
    layer = PackedLSTM(UNITS)
    _random_weights(layer)
    results = []
    for size in (6, 7, 12):
        layout = pack_lengths(tf.constant(LENGTHS), size)
        x = tf.pad(padded, [[0, 0], [0, 5], [0, 0]])[:, :size]
        results.append(layout.unpack(layer(layout.pack(x), layout))[:, :6])
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_initial_values():
    layer = PackedLSTM(100)
    layer.build((None, 60))
    np.testing.assert_array_equal(layer.bias[0, 100:200], 1.0)
    np.testing.assert_array_equal(layer.bias[1, :100], 0.0)
    np.testing.assert_array_equal(layer.bias[1, 200:], 0.0)
    for matrix, limit in (
        (layer.kernel, np.sqrt(6 / 460)),
        (layer.recurrent_kernel, np.sqrt(6 / 500)),
    ):
        # The largest of 24,000 uniform draws is this close to the limit.
        assert 0.99 * limit < np.abs(matrix).max() <= limit
        np.testing.assert_allclose(np.std(matrix), limit / np.sqrt(3), rtol=0.02)


def test_config_round_trip():
    layer = PackedLSTM(5, bidirectional=False)
    twin = PackedLSTM.from_config(layer.get_config())
    assert (twin.units, twin.bidirectional, twin.output_size) == (5, False, 5)
