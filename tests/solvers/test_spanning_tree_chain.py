"""The Markov chain over spanning trees reaches the law it should."""

import numpy as np
import pytest
import tensorflow as tf

from tfnes import random, solvers, structures

pytestmark = pytest.mark.usefixtures("without_xla")

STRUCTURE = structures.SpanningTree()


def test_long_chains_follow_the_law():
    trees = STRUCTURE.enumerate(4)
    scores = tf.random.stateless_normal([2, 6], [0, 1])
    samples = solvers.spanning_tree_chain(
        scores, num_samples=4000, seed=random.make_seed(0)
    ).numpy()
    totals = np.einsum("zp,bp->bz", trees, scores)
    p = np.exp(totals) / np.exp(totals).sum(1, keepdims=True)
    counts = (samples[:, :, None] == trees).all(-1).sum(0)
    assert np.all(counts.sum(1) == 4000)
    statistic = ((counts - 4000 * p) ** 2 / (4000 * p)).sum()
    assert statistic < 30 + 5 * np.sqrt(60)  # 2 x 15 degrees of freedom


def test_one_step_has_the_transition_law():
    # From the path 0-1-2 each of the two edges is taken out half of the time.
    scores = np.array([0.3, -0.5, 1.0], np.float32)  # (0, 1), (0, 2), (1, 2)
    samples = solvers.spanning_tree_chain(
        scores,
        num_steps=1,
        num_samples=20000,
        seed=random.make_seed(1),
        initial=np.array([1.0, 0.0, 1.0], np.float32),
    ).numpy()
    w = np.exp(scores)
    expected = {
        (1, 0, 1): 0.5 * w[0] / (w[0] + w[1]) + 0.5 * w[2] / (w[1] + w[2]),
        (0, 1, 1): 0.5 * w[1] / (w[0] + w[1]),
        (1, 1, 0): 0.5 * w[1] / (w[1] + w[2]),
    }
    for tree, probability in expected.items():
        share = (samples == tree).all(-1).mean()
        assert abs(share - probability) < 5 * np.sqrt(probability / 20000)


def test_lengths_forbidden_edges_and_zero_steps():
    scores = tf.random.stateless_normal([4, 21], [0, 1]).numpy()
    scores[:, 0] = -np.inf
    lengths = tf.constant([7, 4, 2, 0])
    samples = solvers.spanning_tree_chain(
        scores, num_samples=50, seed=random.make_seed(2), lengths=lengths
    ).numpy()
    for sample in samples:
        assert np.all(STRUCTURE.contains(sample, lengths=lengths))
    assert not samples[:, :2, 0].any()
    still = solvers.spanning_tree_chain(
        scores, num_steps=0, seed=random.make_seed(2), lengths=lengths
    )
    best = STRUCTURE.argmax(scores, lengths=lengths)
    np.testing.assert_array_equal(still[0], best)
