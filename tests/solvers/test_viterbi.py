"""Linear chains: a closed form, a long chain, forbidden transitions."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfnes import random, solvers, structures

pytestmark = pytest.mark.usefixtures("without_xla")


def numpy_viterbi(scores):
    best, back = scores[0, 0], []
    for step in scores[1:]:
        total = best[:, None] + step
        back.append(total.argmax(0))
        best = total.max(0)
    states = [int(best.argmax())]
    for pointers in reversed(back):
        states.append(int(pointers[states[-1]]))
    return states[::-1]


def test_same_states_as_a_plain_viterbi():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=[5, 40, 7, 7])
    expected = [numpy_viterbi(row) for row in scores]
    np.testing.assert_array_equal(solvers.viterbi(scores), expected)


def test_sum_is_a_product_of_matrices():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=[12, 3, 3])
    product = np.exp(scores[0, :1])
    for step in scores[1:]:
        product = product @ np.exp(step)
    total = solvers.chain_log_partition(scores)
    np.testing.assert_allclose(total, np.log(product.sum()), rtol=1e-12)


def test_marginals_are_consistent_along_the_chain():
    scores = tf.random.stateless_normal([2, 9, 4, 4], [0, 1], dtype=tf.float64)
    marginals = solvers.chain_marginals(scores, lengths=tf.constant([9, 5])).numpy()
    np.testing.assert_allclose(marginals[0].sum((1, 2)), 1.0, rtol=1e-12)
    np.testing.assert_allclose(marginals[1].sum((1, 2)), np.arange(9) < 5, atol=1e-12)
    arriving = marginals[0, :-1].sum(1)
    leaving = marginals[0, 1:].sum(2)
    np.testing.assert_allclose(arriving, leaving, atol=1e-12)
    assert not marginals[:, 0, 1:].any()


def test_forbidden_transitions_are_never_taken():
    scores = tf.random.stateless_normal([1, 8, 3, 3], [0, 1]).numpy()
    scores[:, 1:, 0, 1] = -np.inf
    samples = solvers.sample_chains(
        scores, num_samples=200, seed=random.make_seed(0)
    ).numpy()
    steps = np.stack([samples[..., :-1], samples[..., 1:]], -1).reshape(-1, 2)
    assert not ((steps == [0, 1]).all(-1)).any()
    states = solvers.viterbi(scores).numpy()[0]
    assert not any(pair == (0, 1) for pair in itertools.pairwise(states))


def test_states_and_parts_are_inverse_to_each_other():
    structure = structures.LinearChain(num_states=3)
    latent = tf.constant(structure.enumerate(3))
    states = structure.states(latent).numpy()
    assert sorted(map(tuple, states)) == [
        (a, b, c) for a in range(3) for b in range(3) for c in range(3)
    ]
