"""Subsets: against binomials, sorting and enumeration."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfnes import errors, random, solvers, structures

pytestmark = pytest.mark.usefixtures("without_xla")


@pytest.mark.parametrize(("parts", "k"), [(1, 1), (6, 0), (6, 6), (45, 9), (300, 7)])
def test_binomials(parts, k):
    expected = math.log(math.comb(parts, k))
    total = solvers.subset_log_partition(tf.zeros([parts], tf.float64), k=k)
    np.testing.assert_allclose(total, expected, rtol=1e-9, atol=1e-12)
    count = structures.Subset(k=k).log_count(tf.zeros([parts], tf.float64))
    np.testing.assert_allclose(count, expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.integers(-2, 2).map(float), st.just(-np.inf)), min_size=1),
    st.integers(0, 6),
)
def test_picks_the_largest_with_ties_and_forbidden_parts(values, k):
    scores = np.array(values, np.float32)
    latent = solvers.top_k(scores, k=k).numpy()
    order = np.argsort(-scores, kind="stable")[:k]
    expected = np.isin(np.arange(len(scores)), order)
    np.testing.assert_array_equal(latent, expected)


def test_marginals_sum_to_k_and_are_the_gradient():
    scores = tf.random.stateless_normal([4, 45], [0, 1], dtype=tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        total = solvers.subset_log_partition(scores, k=9)
    marginals = solvers.subset_marginals(scores, k=9)
    np.testing.assert_allclose(tf.reduce_sum(marginals, -1), 9.0, rtol=1e-10)
    np.testing.assert_allclose(tape.gradient(total, scores), marginals, atol=1e-12)


def test_no_allowed_subset_gives_minus_infinity():
    scores = tf.constant([[0.0, -np.inf, -np.inf], [0.0, 0.0, -np.inf]])
    total = solvers.subset_log_partition(scores, k=2).numpy()
    np.testing.assert_allclose(total, [-np.inf, 0.0], atol=1e-6)


def test_samples_have_the_right_size_with_lengths_and_large_scores():
    scores = 1e6 * tf.random.stateless_normal([3, 11], [0, 1])
    lengths = tf.constant([11, 2, 0])
    samples = solvers.sample_subsets(
        scores, k=4, num_samples=5, seed=random.make_seed(0), lengths=lengths
    )
    best = solvers.top_k(scores, k=4, lengths=lengths)
    np.testing.assert_array_equal(samples, tf.tile(best[None], [5, 1, 1]))


def test_sums_need_a_static_number_of_parts():
    total = tf.function(
        lambda x: solvers.subset_log_partition(x, k=2),
        input_signature=[tf.TensorSpec([None, None])],
        autograph=False,
    )
    with pytest.raises(errors.DataError, match=r"tf\.ensure_shape"):
        total(tf.zeros([1, 3]))
