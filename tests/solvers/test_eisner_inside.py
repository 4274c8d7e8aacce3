"""Sums, samples and the surrogate of projective trees, against enumeration."""

import numpy as np
import pytest
import tensorflow as tf

from tfnes import random, solvers, structures

pytestmark = pytest.mark.usefixtures("without_xla")
ROOTS = pytest.mark.parametrize("single_root", [True, False])


def example(n, *, size=6, batch=8, forbid=0.0, seed=0):
    """Scores `[batch, size, size]` of n words with garbage wherever nothing is read."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(batch, size, size))
    scores[rng.random(scores.shape) < forbid] = -np.inf
    scores[:, n + 1 :], scores[:, :, n + 1 :] = np.nan, np.nan
    scores[:, :, 0], scores[:, range(size), range(size)] = np.nan, np.nan
    return tf.constant(scores), tf.fill([batch], n)


def law(scores, n, single_root):
    """log Z and marginals by enumeration."""
    trees = structures.DependencyTree(single_root=single_root).enumerate(n)
    scores = scores.numpy()[:, None, : n + 1, : n + 1]
    totals = np.where(trees > 0, scores, 0.0).sum((-2, -1))
    log_z = np.logaddexp.reduce(totals, axis=1)
    with np.errstate(invalid="ignore"):
        weights = np.exp(totals - log_z[:, None])
    return log_z, np.einsum("bz,zij->bij", weights, trees)


@ROOTS
@pytest.mark.parametrize("n", [0, 1, 2, 3, 4])
def test_partition_and_marginals_equal_enumeration(single_root, n):
    scores, lengths = example(n, forbid=0.15, seed=n)
    expected, marginals = law(scores, n, single_root)
    kwargs = {"lengths": lengths, "single_root": single_root}
    with tf.GradientTape() as tape:
        tape.watch(scores)
        log_z = solvers.projective_log_partition(scores, **kwargs)
    np.testing.assert_allclose(log_z, expected, atol=1e-9)
    found = solvers.projective_marginals(scores, **kwargs).numpy()
    feasible = np.isfinite(expected)
    assert feasible.any()
    inner = found[feasible][:, : n + 1, : n + 1]
    np.testing.assert_allclose(inner, marginals[feasible], atol=1e-9)
    assert not found[:, n + 1 :].any() and not found[:, :, n + 1 :].any()
    gradient = tape.gradient(log_z, scores).numpy()
    np.testing.assert_allclose(gradient[feasible], found[feasible], atol=1e-9)


@ROOTS
def test_counts(single_root):
    n = np.array([1, 2, 3, 8, 40])
    log_z = solvers.projective_log_partition(
        tf.zeros([5, 41, 41], tf.float64), lengths=n, single_root=single_root
    )
    tree = structures.DependencyTree(single_root=single_root)
    expected = tree.log_count(tf.zeros([5, 41, 41], tf.float64), lengths=n)
    np.testing.assert_allclose(log_z, expected, rtol=1e-12)


@ROOTS
def test_second_derivatives(single_root):
    scores, _ = example(3, size=4, batch=2)
    scores = tf.where(tf.math.is_nan(scores), 0.0, scores)
    direction = tf.constant(np.random.default_rng(1).normal(size=[2, 4, 4]))

    def along(step):
        return solvers.projective_marginals(
            scores + step * direction, single_root=single_root
        )

    with tf.GradientTape() as tape:
        tape.watch(scores)
        total = tf.reduce_sum(
            direction * solvers.projective_marginals(scores, single_root=single_root)
        )
    hessian_product = tape.gradient(total, scores)
    numeric = (along(1e-5) - along(-1e-5)) / 2e-5
    np.testing.assert_allclose(hessian_product, numeric, atol=1e-8)


@ROOTS
def test_large_scores(single_root):
    scores, _ = example(4, size=5, batch=4)
    scores = tf.cast(1e6 * tf.where(tf.math.is_nan(scores), 0.0, scores), tf.float32)
    tree = structures.DependencyTree(single_root=single_root)
    best = tree.argmax(scores)
    np.testing.assert_allclose(
        solvers.projective_marginals(scores, single_root=single_root), best, atol=1e-6
    )
    assert (tree.log_prob(best, scores).numpy() <= 0).all()


@ROOTS
def test_samples_follow_the_law(single_root):
    scores, lengths = example(3, batch=2)
    count = 6000
    heads = solvers.sample_projective(
        scores,
        num_samples=count,
        seed=random.make_seed(3),
        lengths=lengths,
        single_root=single_root,
    )
    assert heads.shape == (count, 2, 5)
    samples = solvers.latent_from_heads(heads, lengths=lengths, dtype=tf.float64)
    tree = structures.DependencyTree(single_root=single_root)
    assert (
        tree.contains(samples, lengths=tf.broadcast_to(lengths, [count, 2]))
        .numpy()
        .all()
    )
    trees = tree.enumerate(3)
    for b in range(2):
        totals = np.where(trees > 0, scores[b, :4, :4], 0.0).sum((-2, -1))
        expected = count * np.exp(totals - np.logaddexp.reduce(totals))
        equal = (samples[:, b, None, :4, :4].numpy() == trees).all((-2, -1))
        statistic = ((equal.sum(0) - expected) ** 2 / expected).sum()
        # 99.99 % points of chi-square with 6 and 11 degrees of freedom.
        assert statistic < (27.9 if single_root else 37.4)


def test_samples_depend_on_seed_alone():
    scores = tf.zeros([3, 6, 6])
    draw = lambda seed, x: solvers.sample_projective(  # noqa: E731
        x, num_samples=4, seed=random.make_seed(seed)
    ).numpy()
    np.testing.assert_array_equal(draw(1, scores), draw(1, scores))
    assert (draw(1, scores) != draw(2, scores)).any()
    np.testing.assert_array_equal(draw(1, scores[:2]), draw(1, scores)[:, :2])


@ROOTS
class TestSurrogate:
    def test_becomes_the_argmax(self, single_root):
        scores, lengths = example(5, size=7, forbid=0.1)
        kwargs = {"lengths": lengths, "single_root": single_root}
        feasible = np.isfinite(solvers.projective_log_partition(scores, **kwargs))
        soft = solvers.eisner_surrogate(scores, temperature=1e-7, **kwargs)
        with solvers.use_jit_compile(False):
            best = structures.DependencyTree(single_root=single_root).argmax(
                scores, lengths=lengths
            )
        np.testing.assert_allclose(soft[feasible], best[feasible], atol=1e-6)

    def test_two_words_by_hand(self, single_root):
        root = np.array([0.3, -0.2])
        forward, backward = 0.7, 0.1  # 1 -> 2, 2 -> 1
        scores = np.zeros((3, 3))
        scores[0, 1:], scores[1, 2], scores[2, 1] = root, forward, backward
        soft = solvers.eisner_surrogate(
            scores, temperature=0.5, single_root=single_root
        )
        if single_root:
            options = np.array([root[0] + forward, root[1] + backward])
            first, second = np.exp(2 * options) / np.exp(2 * options).sum()
            expected = [[0, first, second], [0, 0, first], [0, second, 0]]
        else:
            # Spans of the root: to word 1; to word 2 over an inner span that is either
            # [root -> 1, 2] or [root, 1 <- 2]; then that arc, or the first and 1 -> 2.
            inner = np.array([backward, root[0]])
            share = np.exp(2 * inner) / np.exp(2 * inner).sum()
            to_second = root[1] + share @ inner
            options = np.array([root[0] + forward, to_second])
            first, second = np.exp(2 * options) / np.exp(2 * options).sum()
            expected = [
                [0, first + second * share[1], second],
                [0, 0, first],
                [0, second * share[0], 0],
            ]
        np.testing.assert_allclose(soft, expected, atol=1e-12)

    def test_columns_sum_to_one(self, single_root):
        scores, lengths = example(4, size=6)
        soft = solvers.eisner_surrogate(
            scores, temperature=1.0, lengths=lengths, single_root=single_root
        ).numpy()
        np.testing.assert_allclose(soft.sum(1)[:, 1:5], 1.0)
        assert (soft >= 0).all() and not soft[:, :, 5].any()
        if single_root:
            np.testing.assert_allclose(soft[:, 0].sum(-1), 1.0)

    def test_gradient_is_the_derivative(self, single_root):
        rng = np.random.default_rng(5)
        scores = tf.constant(rng.normal(size=(2, 5, 5)))
        weights, direction = rng.normal(size=(2, 2, 5, 5))

        def total(scores):
            soft = solvers.eisner_surrogate(
                scores, temperature=0.7, lengths=[4, 2], single_root=single_root
            )
            return tf.reduce_sum(weights * soft)

        with tf.GradientTape() as tape:
            tape.watch(scores)
            value = total(scores)
        found = tf.reduce_sum(direction * tape.gradient(value, scores))
        numeric = (
            total(scores + 1e-5 * direction) - total(scores - 1e-5 * direction)
        ) / 2e-5
        np.testing.assert_allclose(found, numeric, rtol=1e-6)
