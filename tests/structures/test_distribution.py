"""The law of a structure as a distribution of TensorFlow Probability."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfnes import structures

pytestmark = pytest.mark.usefixtures("without_xla")

SCORES = tf.constant(np.random.default_rng(0).normal(size=[2, 6]), tf.float32)


@pytest.fixture(scope="module")
def law():
    return structures.SpanningTree().distribution(SCORES)


def test_shapes(law):
    assert law.batch_shape == [2] and law.event_shape == [6]
    assert law.sample([3, 4], seed=1).shape == [3, 4, 2, 6]
    assert law.log_prob(law.sample(5, seed=1)).shape == [5, 2]


def test_probabilities_of_all_trees_sum_to_one(law):
    trees = structures.SpanningTree().enumerate(4)
    total = tf.reduce_logsumexp(law.log_prob(trees[:, None]), axis=0)
    np.testing.assert_allclose(total, [0, 0], atol=1e-5)


def test_log_prob_outside_of_the_set_is_minus_infinity(law):
    assert np.all(np.isneginf(law.log_prob(tf.ones([6]))))


def test_mean_mode_variance_and_entropy(law):
    trees = structures.SpanningTree().enumerate(4)
    p = np.exp(law.log_prob(trees[:, None]).numpy())
    mean = np.einsum("zb,zp->bp", p, trees)
    np.testing.assert_allclose(law.mean(), mean, atol=1e-5)
    np.testing.assert_allclose(law.variance(), mean - mean**2, atol=1e-5)
    np.testing.assert_allclose(law.entropy(), -(p * np.log(p)).sum(0), rtol=1e-5)
    np.testing.assert_array_equal(law.mode(), trees[p.argmax(0)])


def test_kl_divergence_is_registered_and_exact(law):
    other = structures.SpanningTree().distribution(0.5 * SCORES + 1.0)
    trees = structures.SpanningTree().enumerate(4)[:, None]
    log_p, log_q = law.log_prob(trees).numpy(), other.log_prob(trees).numpy()
    expected = (np.exp(log_p) * (log_p - log_q)).sum(0)
    np.testing.assert_allclose(law.kl_divergence(other), expected, atol=1e-6)


def test_kl_divergence_of_different_structures_is_refused(law):
    other = structures.Subset(k=3).distribution(SCORES)
    with pytest.raises(ValueError, match="same structures"):
        law.kl_divergence(other)


def test_lengths_reach_samples_and_probabilities():
    law = structures.SpanningTree().distribution(SCORES, lengths=tf.constant([3, 4]))
    samples = law.sample(50, seed=2)
    assert np.all(samples.numpy()[:, 0, [2, 4, 5]] == 0)
    assert np.all(np.isfinite(law.log_prob(samples)))


def test_probability_library_is_imported_on_first_use_only():
    code = (
        "import sys, tfnes.structures; print('tensorflow_probability' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "False"
