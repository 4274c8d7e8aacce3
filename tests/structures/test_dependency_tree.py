"""Dependency trees: counts, membership, abilities, configuration."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfnes import random, structures
from tfnes.solvers import latent_from_heads

pytestmark = pytest.mark.usefixtures("without_xla")
KINDS = [(p, s) for p in (True, False) for s in (True, False)]
COUNTS = {
    (True, True): lambda n: math.comb(3 * n - 2, n - 1) // n,
    (True, False): lambda n: math.comb(3 * n, n) // (2 * n + 1),
    (False, True): lambda n: n ** (n - 1),
    (False, False): lambda n: (n + 1) ** (n - 1),
}


@pytest.mark.parametrize(("projective", "single_root"), KINDS)
class TestCounts:
    def test_closed_form_equals_enumeration(self, projective, single_root):
        tree = structures.DependencyTree(projective=projective, single_root=single_root)
        assert len(tree.enumerate(0)) == 1
        for n in range(1, 6):
            assert len(tree.enumerate(n)) == COUNTS[projective, single_root](n)

    def test_log_count(self, projective, single_root):
        tree = structures.DependencyTree(projective=projective, single_root=single_root)
        lengths = np.array([[0, 1, 2], [7, 30, 100]])
        found = tree.log_count(tf.zeros([2, 3, 101, 101], tf.float64), lengths=lengths)
        expected = [
            [
                math.log(COUNTS[projective, single_root](int(n))) if n else 0.0
                for n in row
            ]
            for row in lengths
        ]
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)
        full = tree.log_count(tf.zeros([4, 8, 8]))
        np.testing.assert_allclose(full, np.full(4, expected[1][0]), rtol=1e-6)

    def test_sampler_gives_trees(self, projective, single_root):
        tree = structures.DependencyTree(projective=projective, single_root=single_root)
        lengths = tf.constant([4, 0, 2])
        samples = tree.sample(
            tf.zeros([3, 5, 5]),
            num_samples=5,
            seed=random.make_seed(0),
            lengths=lengths,
        )
        assert samples.shape == (5, 3, 5, 5)
        inside = tree.contains(samples, lengths=tf.broadcast_to(lengths, [5, 3]))
        assert inside.numpy().all()


def tree_of(*heads):
    return latent_from_heads(list(heads))


@pytest.mark.parametrize(
    ("latent", "inside"),
    [
        # (projective, single root), (projective, several), ... in the order of KINDS
        (tree_of(0, 1, 1), [True, True, True, True]),
        (tree_of(0, 0, 2), [False, True, False, True]),
        (tree_of(3, 0, 2), [False, False, True, True]),
        (tree_of(2, 4, 1, 0), [False, False, True, True]),
        (tree_of(3, 0, 0), [False, False, False, True]),
        (tree_of(2, 1, 0), [False] * 4),
        (tree_of(1, 0, 2), [False] * 4),
        (tf.zeros([4, 4]), [False] * 4),
        (0.5 * tree_of(0, 1, 1) + 0.5 * tree_of(0, 1, 2), [False] * 4),
        (tree_of(0, 1, 1) + tree_of(0, 1, 1), [False] * 4),
    ],
)
def test_contains(latent, inside):
    found = [
        bool(structures.DependencyTree(projective=p, single_root=s).contains(latent))
        for p, s in KINDS
    ]
    assert found == inside


def test_contains_looks_at_padding():
    latent = np.zeros([5, 5], np.float32)
    latent[0, 1] = latent[1, 2] = 1
    tree = structures.DependencyTree()
    assert tree.contains(latent, lengths=2)
    assert not tree.contains(latent, lengths=3)
    latent[3, 4] = 1
    assert not tree.contains(latent, lengths=2)


def test_single_root_differs_from_several():
    scores = np.zeros((3, 3), np.float32)
    scores[0] = 10.0
    one = structures.DependencyTree(projective=False)
    several = structures.DependencyTree(projective=False, single_root=False)
    assert one.argmax(scores)[0].numpy().sum() == 1
    assert several.argmax(scores)[0].numpy().sum() == 2


def test_argmax_has_no_gradient_and_keeps_dtype():
    scores = tf.Variable(tf.zeros([2, 4, 4], tf.float64))
    tree = structures.DependencyTree()
    with tf.GradientTape() as tape:
        latent = tree.argmax(scores)
    assert latent.dtype == tf.float64
    assert tape.gradient(latent, scores) is None


def test_relaxation_without_crossing_constraint_is_the_marginals():
    scores = tf.constant(np.random.default_rng(0).normal(size=(3, 5, 5)))
    tree = structures.DependencyTree(projective=False)
    np.testing.assert_allclose(
        tree.relaxed_argmax(scores, temperature=0.5), tree.marginals(2.0 * scores)
    )


def test_configuration():
    tree = structures.DependencyTree(projective=False, single_root=False)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(tree)
    )
    assert again == tree and again != structures.DependencyTree()
    assert repr(tree) == "DependencyTree(projective=False, single_root=False)"
