"""Packing, groups of rows, the pair scorer and the initializers."""

import numpy as np
import pytest
import tensorflow as tf

from tfnes.models.layers import (
    DimensionUniform,
    PairScorer,
    StackedGlorot,
    map_row_groups,
    pack_lengths,
)
from tfnes.models.layers.row_groups import group_rows


@pytest.mark.parametrize("lengths", [[5, 3, 3, 1, 0], [1, 0, 4, 3], [2]])
def test_packing_is_a_bijection(lengths):
    size = 6
    tokens = tf.reshape(tf.range(1, len(lengths) * size + 1), [len(lengths), size])
    tokens *= tf.cast(tf.sequence_mask(lengths, size), tf.int32)
    layout = pack_lengths(tf.constant(lengths), size)
    packed = layout.pack(tokens)
    assert int(layout.size) == sum(lengths)
    np.testing.assert_array_equal(layout.unpack(packed), tokens)
    reverse = layout.unpack(tf.gather(packed, layout.reverse)).numpy()
    for row, length in enumerate(lengths):
        np.testing.assert_array_equal(
            reverse[row, :length], tokens[row, :length].numpy()[::-1]
        )


def test_packed_tokens_of_one_time_are_one_slice():
    layout = pack_lengths(tf.constant([1, 4, 2]), 4)
    np.testing.assert_array_equal(layout.counts, [3, 2, 1, 1])
    np.testing.assert_array_equal(layout.times, [0, 0, 0, 1, 1, 2, 3])
    np.testing.assert_array_equal(layout.rows, [1, 2, 0, 1, 2, 1, 1])


@pytest.mark.parametrize("lengths", [[40, 17, 9, 8, 8, 1, 0], [3, 40, 1], [0, 0]])
def test_row_groups_cover_every_row_once(lengths):
    lengths = tf.constant(lengths)

    def visit(group):
        tf.debugging.assert_less_equal(group.take(lengths), group.size)
        rows = tf.range(group.start, group.start + group.rows)
        return [rows, group.take(lengths)]

    run = tf.function(
        lambda n: map_row_groups(
            visit, lengths, max_length=n, outputs=[tf.TensorSpec([None], tf.int32)] * 2
        )
    )
    rows, found = run(tf.constant(40))
    size = len(lengths)
    np.testing.assert_array_equal(rows, np.arange(len(rows)))
    assert len(rows) >= size
    np.testing.assert_array_equal(found[:size], lengths)
    np.testing.assert_array_equal(found[size:], 0)


def test_groups_of_long_sentences_are_small():
    rows = [int(group_rows(tf.constant(n), tf.constant(128))) for n in (8, 32, 64, 500)]
    assert rows[0] == 32
    assert sorted(rows, reverse=True) == rows
    assert rows[-1] == 1
    # A small batch is not blown up.
    assert int(group_rows(tf.constant(8), tf.constant(3))) == 4


def _numpy_scores(scorer, nodes):
    """w . tanh(W_h v_h + W_m v_m + b), pair by pair."""
    w_h, w_m, w = (
        np.asarray(v, np.float64)
        for v in (scorer.head_kernel, scorer.modifier_kernel, scorer.output_kernel)
    )
    b = np.asarray(scorer.bias, np.float64)
    result = np.empty((len(nodes), len(nodes), w.shape[1]))
    for h, v_h in enumerate(nodes):
        for m, v_m in enumerate(nodes):
            result[h, m] = np.tanh(v_h @ w_h + v_m @ w_m + b) @ w
    return result


def test_scores_are_the_formula():
    scorer = PairScorer(6, outputs=3, use_output_bias=True)
    scorer.build((None, 4))
    nodes = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    expected = _numpy_scores(scorer, nodes)
    heads, modifiers = scorer.project(tf.constant(nodes))
    pairs = scorer.all_pairs(heads[None], modifiers[None], scorer.pair_kernel())[0]
    np.testing.assert_allclose(pairs, expected[..., 0], atol=1e-5)
    aligned = scorer(tf.gather(heads, [0, 3]), tf.gather(modifiers, [4, 3]))
    bias = scorer.output_bias.numpy()
    np.testing.assert_allclose(aligned[0], expected[0, 4] + bias, atol=1e-5)
    np.testing.assert_allclose(aligned[1], expected[3, 3] + bias, atol=1e-5)


def test_saturated_pairs_are_exact():
    scorer = PairScorer(2)
    scorer.build((None, 1))
    scorer.output_kernel.assign([[1.0], [0.5]])
    heads = tf.constant([[[39.0, -300.0], [1e-4, 0.0]]])
    modifiers = tf.constant([[[-38.5, 2.0], [100.0, 1e-4]]])
    pairs = scorer.all_pairs(heads, modifiers, scorer.pair_kernel())[0]
    expected = [
        [np.tanh(0.5) - 0.5, 0.5],
        [-1 + 0.5 * np.tanh(2.0), 1 + 0.5e-4],
    ]
    np.testing.assert_allclose(pairs, expected, atol=2e-6)
    nan = scorer.all_pairs(heads * float("nan"), modifiers, scorer.pair_kernel())
    assert np.isnan(nan).all()


def test_gradient_of_all_pairs():
    scorer = PairScorer(6)
    scorer.build((None, 4))
    nodes = tf.random.stateless_normal([2, 5, 4], [3, 4])
    weights = tf.random.stateless_normal([2, 5, 5], [5, 6])

    def fused(heads, modifiers):
        return scorer.all_pairs(heads, modifiers, scorer.pair_kernel())

    def plain(heads, modifiers):
        return scorer(heads[:, :, None], modifiers[:, None])[..., 0]

    gradients = []
    for score in (fused, plain):
        with tf.GradientTape() as tape:
            tape.watch(nodes)
            loss = tf.reduce_sum(weights * score(*scorer.project(nodes)))
        variables = [v.value for v in scorer.trainable_variables]
        gradients.append(tape.gradient(loss, [nodes, *variables]))
    for ours, theirs in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert max(np.abs(g).max() for g in gradients[0]) > 0.1


def test_initial_laws():
    draw = DimensionUniform(seed=1)((2000, 25)).numpy()
    np.testing.assert_allclose(draw.std(), 0.2, rtol=0.02)
    assert np.abs(draw).max() <= np.sqrt(3 / 25)
    draw = StackedGlorot(blocks=3, seed=1)((40, 300)).numpy()
    limit = np.sqrt(6 / 140)
    assert 0.99 * limit < np.abs(draw).max() <= limit
    other = StackedGlorot(blocks=3, seed=2)((40, 300)).numpy()
    assert not np.array_equal(draw, other)
