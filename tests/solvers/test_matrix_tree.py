"""Sums over trees: counts, enumeration, both algorithms, any range of scores."""

import numpy as np
import pytest
import tensorflow as tf

from tfnes import random, solvers, structures
from tfnes.solvers import edges, elimination, laplacian

pytestmark = pytest.mark.usefixtures("without_xla")


@pytest.mark.parametrize("vertices", [1, 2, 3, 10, 25, 100])
def test_cayley(vertices):
    scores = tf.zeros([vertices * (vertices - 1) // 2])
    expected = max(vertices - 2, 0) * np.log(vertices)
    total = solvers.spanning_tree_log_partition(scores)
    np.testing.assert_allclose(total, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        structures.SpanningTree().log_count(scores), expected, rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("words", [1, 2, 5, 30])
@pytest.mark.parametrize("far", [False, True], ids=["dense", "elimination"])
def test_directed_counts(words, far):
    # A word more that may only hang on the root, at a score far below, forces the
    # elimination; it adds its score to each tree.
    scores = np.zeros([words + 2, words + 2], np.float64)
    scores[:, -1] = scores[-1] = -np.inf
    scores[0, -1] = 0.0
    if not far:
        scores = scores[:-1, :-1]
    multi = solvers.directed_log_partition(tf.constant(scores), single_root=False)
    np.testing.assert_allclose(multi, (words - 1) * np.log(words + 1), rtol=1e-9)
    if not far:
        single = solvers.directed_log_partition(tf.constant(scores), single_root=True)
        expected = (words - 1) * np.log(words)
        np.testing.assert_allclose(single, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("single_root", [False, True])
@pytest.mark.parametrize("scale", [1.0, 30.0, 1e3, 1e6])
@pytest.mark.parametrize("forbidden", [0.0, 0.3])
def test_directed_sums_equal_enumeration(single_root, scale, forbidden):
    rng = np.random.default_rng(0)
    trees = structures.DependencyTree(
        projective=False, single_root=single_root
    ).enumerate(3)
    scores = scale * rng.normal(size=[20, 4, 4])
    scores[rng.random(scores.shape) < forbidden] = -np.inf
    totals = np.where(trees > 0, scores[:, None], 0.0).sum((2, 3))
    top = totals.max(1, keepdims=True)
    possible = np.isfinite(top[:, 0])
    weights = np.exp(totals - np.where(np.isfinite(top), top, 0.0))
    with np.errstate(divide="ignore"):
        expected = top[:, 0] + np.log(weights.sum(1))
    p = weights / np.maximum(weights.sum(1, keepdims=True), 1e-300)
    direction = rng.normal(size=scores.shape)
    given = tf.constant(scores)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(given)
        total = solvers.directed_log_partition(given, single_root=single_root)
        marginals = solvers.directed_marginals(given, single_root=single_root)
        along = tf.reduce_sum(marginals * direction)
    actual = total.numpy()
    np.testing.assert_array_equal(np.isneginf(actual), ~possible)
    np.testing.assert_allclose(actual[possible], expected[possible], rtol=1e-12)
    mean = np.einsum("bz,zhm->bhm", p, trees)[possible]
    np.testing.assert_allclose(marginals.numpy()[possible], mean, atol=1e-9)
    gradient = tape.gradient(total, given).numpy()
    np.testing.assert_allclose(gradient[possible], mean, atol=1e-9)
    moved = np.einsum("zhm,bhm->bz", trees, direction)
    moved = p * (moved - (p * moved).sum(1, keepdims=True))
    hessian = np.einsum("bz,zhm->bhm", moved, trees)[possible]
    actual = tape.gradient(along, given).numpy()[possible]
    np.testing.assert_allclose(actual, hessian, atol=1e-7)
    assert np.all(np.isfinite(marginals))


@pytest.mark.parametrize("single_root", [False, True])
def test_both_algorithms_agree_on_long_sentences(single_root):
    rng = np.random.default_rng(1)
    scores = rng.uniform(-4, 4, size=[3, 31, 31])
    lengths = tf.constant([30, 17, 1])
    close = solvers.directed_marginals(
        tf.constant(scores), lengths=lengths, single_root=single_root
    )
    total = solvers.directed_log_partition(
        tf.constant(scores), lengths=lengths, single_root=single_root
    )
    # A sentence beside them with a wide range sends the whole batch to elimination.
    wide = np.concatenate([scores, 100.0 * rng.normal(size=[1, 31, 31])])
    lengths = tf.concat([lengths, [30]], 0)
    far = solvers.directed_marginals(
        tf.constant(wide), lengths=lengths, single_root=single_root
    )
    np.testing.assert_allclose(far[:3], close, atol=1e-9)
    far = solvers.directed_log_partition(
        tf.constant(wide), lengths=lengths, single_root=single_root
    )
    np.testing.assert_allclose(far[:3], total, rtol=1e-12)
    columns = tf.reduce_sum(close, axis=1).numpy()
    expected = (np.arange(31) > 0) & (np.arange(31) <= np.array([30, 17, 1])[:, None])
    np.testing.assert_allclose(columns, expected, atol=1e-9)
    if single_root:
        np.testing.assert_allclose(tf.reduce_sum(close[:, 0], -1), 1.0, atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 5.0, 50.0])
def test_marginals_of_large_graphs_sum_to_the_number_of_edges(scale):
    scores = scale * tf.random.stateless_normal([2, 780], [0, 1])
    marginals = solvers.spanning_tree_marginals(scores)
    np.testing.assert_allclose(tf.reduce_sum(marginals, -1), 39.0, rtol=1e-5)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        total = solvers.spanning_tree_log_partition(scores)
    np.testing.assert_allclose(tape.gradient(total, scores), marginals, atol=1e-6)


def test_weakly_connected_clusters_keep_their_accuracy():
    # Two cliques joined by edges e^-15 as heavy: the inverse's worst case.
    vertices = 20
    i, j = np.triu_indices(vertices, 1)
    scores = np.where((i < 10) == (j < 10), 0.0, -15.0)
    marginals = solvers.spanning_tree_marginals(tf.constant(scores, tf.float32))
    within = 0.2 * np.ones_like(scores)  # 9 edges among 45
    expected = np.where((i < 10) == (j < 10), within, 0.01)
    np.testing.assert_allclose(marginals, expected, atol=1e-5)


def test_shift_adds_to_every_tree_and_leaves_the_law():
    scores = tf.random.stateless_normal([4, 15], [0, 1])
    total = solvers.spanning_tree_log_partition(scores)
    shifted = solvers.spanning_tree_log_partition(scores + 2.0)
    np.testing.assert_allclose(shifted, total + 10.0, rtol=1e-5)
    np.testing.assert_allclose(
        solvers.spanning_tree_marginals(scores + 2.0),
        solvers.spanning_tree_marginals(scores),
        atol=1e-6,
    )


def test_xla_gives_the_same_sums():
    def sums(scores):
        total = solvers.spanning_tree_log_partition(scores)
        return total, solvers.spanning_tree_marginals(scores)

    scores = tf.random.stateless_normal([3, 10], [0, 1])
    given = {scale: scale * scores for scale in (1.0, 40.0)}
    expected = {scale: sums(scores) for scale, scores in given.items()}
    with solvers.use_jit_compile(True):
        solve = tf.function(sums, jit_compile=True, autograph=False)
        for scale, scores in given.items():
            for one, two in zip(solve(scores), expected[scale], strict=True):
                np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_samples_are_trees_and_follow_large_scores(scale):
    structure = structures.SpanningTree()
    scores = scale * tf.random.stateless_normal([3, 45], [0, 1])
    lengths = tf.constant([10, 1, 6])
    samples = solvers.sample_spanning_trees(
        scores, num_samples=20, seed=random.make_seed(1), lengths=lengths
    )
    assert samples.shape == [20, 3, 45]
    assert all(np.all(structure.contains(z, lengths=lengths)) for z in samples)
    if scale > 1:
        best = structure.argmax(scores, lengths=lengths)
        np.testing.assert_array_equal(samples, tf.tile(best[None], [20, 1, 1]))


@pytest.mark.parametrize("single_root", [False, True])
def test_directed_samples_follow_the_law_with_forbidden_arcs(single_root):
    trees = structures.DependencyTree(
        projective=False, single_root=single_root
    ).enumerate(3)
    scores = np.random.default_rng(3).normal(size=[4, 4]).astype(np.float32)
    scores[0, 2] = scores[1, 3] = -np.inf
    totals = np.where(trees > 0, scores, 0.0).sum((1, 2))
    p = np.exp(totals) / np.exp(totals).sum()
    samples = solvers.directed_sample(
        scores,
        num_samples=20000,
        seed=random.make_seed(0),
        single_root=single_root,
    ).numpy()
    counts = np.array([(samples == tree).all((1, 2)).sum() for tree in trees])
    assert counts.sum() == 20000
    expected = 20000 * p[p > 0]
    statistic = ((counts[p > 0] - expected) ** 2 / expected).sum()
    freedom = (p > 0).sum() - 1
    assert statistic < freedom + 5 * np.sqrt(2 * freedom)


def test_dense_algebra_is_used_only_within_its_range():
    weights = tf.constant(np.exp(np.random.default_rng(0).normal(size=[2, 5, 5])))
    real = np.ones([5, 5]) - np.eye(5)
    real[:, 0] = 0
    weights *= real
    lengths = tf.constant([4, 4])
    dense = laplacian.marginals(weights, lengths, single_root=False)
    table = tf.where(real > 0, tf.math.log(weights), elimination.FORBIDDEN)
    _, table = elimination.eliminate(table, lengths, single_root=False)
    other = elimination.marginals(table, lengths, single_root=False)
    np.testing.assert_allclose(other, dense, atol=1e-12)


def test_edges_and_matrices_are_inverse_to_each_other():
    values = tf.random.stateless_normal([2, 3, 15], [0, 1])
    matrix = edges.to_matrix(values)
    assert matrix.shape == [2, 3, 6, 6]
    np.testing.assert_array_equal(matrix, tf.linalg.matrix_transpose(matrix))
    np.testing.assert_array_equal(edges.from_matrix(matrix), values)
