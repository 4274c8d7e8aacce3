"""Assignments against scipy, and Sinkhorn's relaxation of them."""

import numpy as np
import pytest
import scipy.optimize
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfnes import solvers

pytestmark = pytest.mark.usefixtures("without_xla")


def scipy_columns(scores):
    return scipy.optimize.linear_sum_assignment(scores, maximize=True)[1]


@pytest.mark.parametrize("size", [1, 2, 5, 10, 30])
def test_same_assignment_as_scipy(size):
    scores = np.random.default_rng(size).normal(size=[20, size, size])
    expected = [scipy_columns(row) for row in scores]
    np.testing.assert_array_equal(solvers.linear_assignment(scores), expected)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float32, (4, 4), elements=st.integers(-2, 2).map(float)),
    hnp.arrays(np.bool_, (4, 4), elements=st.integers(0, 3).map(lambda x: x == 0)),
)
def test_ties_and_forbidden_pairs(scores, forbidden):
    scores = np.where(forbidden, -np.inf, scores).astype(np.float32)
    with solvers.use_jit_compile(False):
        columns = solvers.linear_assignment(scores).numpy()
    assert sorted(columns) == [0, 1, 2, 3]
    try:
        best = scores[np.arange(4), scipy_columns(scores)].sum()
    except ValueError:  # no permutation without forbidden pairs
        return
    assert scores[np.arange(4), columns].sum() == best


def test_lengths_and_large_scores():
    scores = 1e6 * np.random.default_rng(0).normal(size=[4, 6, 6])
    scores = scores.astype(np.float32)
    lengths = [6, 3, 1, 0]
    given_scores = scores.copy()
    for row, length in enumerate(lengths):
        given_scores[row, length:] = given_scores[row, :, length:] = np.nan
    columns = solvers.linear_assignment(given_scores, lengths=lengths).numpy()
    for row, length in enumerate(lengths):
        expected = scipy_columns(scores[row, :length, :length])
        np.testing.assert_array_equal(columns[row, :length], expected)
        assert np.all(columns[row, length:] == -1)


def test_xla_gives_the_same_assignments():
    scores = tf.random.stateless_normal([5, 6, 6], [0, 1])
    expected = solvers.linear_assignment(scores)
    with solvers.use_jit_compile(True):
        np.testing.assert_array_equal(solvers.linear_assignment(scores), expected)


def test_sinkhorn_is_doubly_stochastic_and_tends_to_the_assignment():
    scores = tf.random.stateless_normal([6, 5, 5], [3, 1], dtype=tf.float64)
    lengths = tf.constant([5, 5, 4, 2, 1, 0])
    soft = solvers.sinkhorn(scores, num_iterations=200, lengths=lengths).numpy()
    inside = np.arange(5) < lengths.numpy()[:, None]
    np.testing.assert_allclose(soft.sum(1), inside, atol=1e-9)
    np.testing.assert_allclose(soft.sum(2), inside, atol=1e-6)
    hard = solvers.sinkhorn(
        scores, temperature=0.005, num_iterations=3000, lengths=lengths
    )
    columns = solvers.linear_assignment(scores, lengths=lengths)
    np.testing.assert_allclose(hard, tf.one_hot(columns, 5), atol=0.05)


def test_sinkhorn_is_the_entropic_optimum():
    # Rows and columns scale exp(scores / temperature): log P - scores / T has rank one
    # structure a_i + b_j.
    scores = tf.random.stateless_normal([4, 4], [1, 1], dtype=tf.float64)
    soft = solvers.sinkhorn(scores, temperature=0.7, num_iterations=500)
    rest = (tf.math.log(soft) - scores / 0.7).numpy()
    rest = rest - rest[:1] - rest[:, :1] + rest[0, 0]
    np.testing.assert_allclose(rest, 0.0, atol=1e-9)


def test_sinkhorn_gradient_is_finite_with_padding_and_forbidden_pairs():
    scores = tf.constant([[[0.0, -np.inf, np.nan], [1.0, 2.0, np.nan], [np.nan] * 3]])
    with tf.GradientTape() as tape:
        tape.watch(scores)
        soft = solvers.sinkhorn(scores, lengths=[2])
        total = tf.reduce_sum(soft**2)
    assert np.all(np.isfinite(tape.gradient(total, scores).numpy()[:, :2, :2]))
