"""The tree decoder against a loop over words that follows the definition."""

import numpy as np
import pytest
import tensorflow as tf

from tfnes.models.layers import TreeDecoder

UNITS, FEATURES, VOCABULARY = 5, 4, 9
LENGTHS = [4, 1, 0, 3]


@pytest.fixture(scope="module")
def decoder():
    layer = TreeDecoder(UNITS, vocabulary_size=VOCABULARY)
    layer.build((None, FEATURES))
    rng = np.random.default_rng(0)
    for variable in layer.trainable_variables:
        variable.assign(rng.normal(size=variable.shape) * 0.5)
    return layer


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(1)
    return tf.constant(rng.normal(size=(VOCABULARY, FEATURES)), tf.float32)


@pytest.fixture(scope="module")
def words():
    rng = np.random.default_rng(2)
    return tf.constant(rng.integers(2, VOCABULARY, (len(LENGTHS), 5)), tf.int32)


def _trees(relaxed):
    """Random matrices: 0/1 with one head each, or any numbers in [0, 1]."""
    rng = np.random.default_rng(3)
    size = (len(LENGTHS), 6, 6)
    if relaxed:
        return rng.uniform(size=size).astype(np.float32)
    heads = rng.integers(0, 6, (len(LENGTHS), 6))
    return np.moveaxis(np.eye(6, dtype=np.float32)[heads], 1, 2)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _loop(decoder, table, words, tree):
    """log p of one sentence, word by word, in float64."""
    value = {v.path: np.asarray(v, np.float64) for v in decoder.trainable_variables}
    get = lambda name: next(v for k, v in value.items() if k.endswith(name))  # noqa: E731
    kernel, recurrent, bias = (
        get("lstm/kernel"),
        get("recurrent_kernel")[0],
        get("bias"),
    )
    bias = np.asarray(decoder.lstm.bias, np.float64)[0]
    c_kernel, h_kernel, m_kernel = np.split(get("roles_kernel"), 3, axis=1)
    c_bias, h_bias, m_bias = get("roles_bias")
    state, cell, states, total = np.zeros(UNITS), np.zeros(UNITS), [], 0.0
    inputs = [1, *words[:-1]]
    for i, (word, target) in enumerate(zip(inputs, words, strict=True)):
        gates = np.asarray(table, np.float64)[word] @ kernel + state @ recurrent + bias
        g_i, g_f, g_c, g_o = np.split(gates, 4)
        cell = _sigmoid(g_f) * cell + _sigmoid(g_i) * np.tanh(g_c)
        state = _sigmoid(g_o) * np.tanh(cell)
        states.append(state)
        summed = state @ c_kernel + c_bias
        for j in range(i):
            summed = summed + tree[j, i] * (states[j] @ h_kernel + h_bias)
            summed = summed + tree[i, j] * (states[j] @ m_kernel + m_bias)
        logits = np.tanh(summed) @ get("output_kernel") + get("output_bias")
        total += logits[target] - np.log(np.exp(logits).sum())
    return total


@pytest.mark.parametrize("relaxed", [False, True])
def test_equals_the_loop(decoder, table, words, relaxed):
    trees = _trees(relaxed)
    lengths = tf.constant(LENGTHS)
    result = decoder(decoder.states(words, lengths, table=table), tf.constant(trees))
    for row, length in enumerate(LENGTHS):
        expected = 0.0
        if length:
            sentence = words[row, :length].numpy()
            expected = _loop(decoder, table, sentence, trees[row]) / length
        np.testing.assert_allclose(result[row], expected, atol=2e-5)


def test_arcs_of_the_last_word_do_not_matter(decoder, table, words):
    lengths = tf.constant(LENGTHS)
    states = decoder.states(words, lengths, table=table)
    trees = _trees(True)
    before = decoder(states, tf.constant(trees)).numpy()
    for row, length in enumerate(LENGTHS):
        trees[row, length:, :] = 7.0
        trees[row, :, length:] = -7.0
    np.testing.assert_array_equal(decoder(states, tf.constant(trees)), before)


def test_gradient_reaches_the_tree_and_every_variable(decoder, table, words):
    trees = tf.constant(_trees(True))

    def total(trees):
        states = decoder.states(words, tf.constant(LENGTHS), table=table)
        return tf.reduce_sum(decoder(states, trees))

    with tf.GradientTape() as tape:
        tape.watch(trees)
        value = total(trees)
    variables = [v.value for v in decoder.trainable_variables]
    d_trees, *others = tape.gradient(value, [trees, *variables])
    for gradient in others:
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0
    bump = np.zeros(trees.shape, np.float32)
    bump[0, 1, 3] = 0.01
    numeric = (total(trees + bump) - total(trees - bump)) / 0.02
    np.testing.assert_allclose(d_trees[0, 1, 3], numeric, rtol=0.02, atol=1e-4)


def test_shared_states_change_nothing(decoder, table, words):
    states = decoder.states(words, tf.constant(LENGTHS), table=table)
    shared = decoder.share(states)
    trees = _trees(False)
    for latent in (trees, _trees(True), np.zeros_like(trees)):
        expected = decoder(states, tf.constant(latent))
        result = decoder(shared, tf.constant(latent))
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    # What is shared is used: spoilt, it changes the result.
    spoilt = decoder(shared._replace(alone=shared.alone + 1), tf.constant(trees))
    assert np.max(spoilt - decoder(states, tf.constant(trees))) > 0.1


def test_chunks_of_tokens_do_not_matter(decoder, table, words, monkeypatch):
    lengths, trees = tf.constant(LENGTHS), tf.constant(_trees(False))
    states = decoder.states(words, lengths, table=table)
    before = decoder(states, trees)
    monkeypatch.setattr("tfnes.models.layers.tree_decoder._CHUNK", 3)
    np.testing.assert_allclose(decoder(states, trees), before, atol=1e-6)
