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

    def test_equals_the_recurrence_under_autodiff(self, single_root):
        rng = np.random.default_rng(5)
        lengths = [4, 0, 1, 3, 2]
        scores = tf.constant(2 * rng.normal(size=(5, 5, 5)))
        weights = rng.normal(size=scores.shape)
        kwargs = {"temperature": 0.7, "single_root": single_root}
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(scores)
            soft = solvers.eisner_surrogate(scores, lengths=lengths, **kwargs)
            plain = [
                recurrence(scores[i], length, **kwargs)
                for i, length in enumerate(lengths)
            ]
            values = [tf.reduce_sum(weights * x) for x in (soft, tf.stack(plain))]
        np.testing.assert_allclose(soft, plain, atol=1e-12)
        ours, theirs = (tape.gradient(value, scores) for value in values)
        assert np.abs(theirs).max() > 0.1
        np.testing.assert_allclose(ours, theirs, atol=1e-12)

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

    def test_forbidden_arcs_and_ties_have_finite_gradients(self, single_root):
        scores = np.zeros((2, 6, 6), np.float32)
        scores[0, :3, 4], scores[1, :, 2] = -np.inf, -np.inf
        scores = tf.constant(scores)
        with tf.GradientTape() as tape:
            tape.watch(scores)
            soft = solvers.eisner_surrogate(
                scores, temperature=1e-3, single_root=single_root
            )
            value = tf.reduce_sum(soft * soft)
        assert not soft.numpy()[0, :3, 4].any()
        np.testing.assert_allclose(soft.numpy().sum(1)[:, 1:], 1.0, rtol=1e-5)
        assert np.isfinite(tape.gradient(value, scores)).all()


def test_surrogate_in_a_compiled_graph_is_the_same():
    scores, _ = example(9, size=10, batch=3)
    weights = np.random.default_rng(1).normal(size=scores.shape)

    def soft_and_gradient(scores):
        with tf.GradientTape() as tape:
            tape.watch(scores)
            soft = solvers.eisner_surrogate(scores, lengths=[9, 4, 0])
            value = tf.reduce_sum(weights * soft)
        return soft, tape.gradient(value, scores)

    expected = soft_and_gradient(scores)
    spec = tf.TensorSpec([None, None, None], scores.dtype)
    with solvers.use_jit_compile(True):
        result = tf.function(soft_and_gradient, input_signature=[spec])(scores)
    for ours, theirs in zip(result, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def recurrence(scores, n, *, temperature, single_root):
    """The surrogate for one sentence, span by span; arcs `[N, N]`."""
    first, arcs = (1 if single_root else 0), {}
    # (kind, i, j): value of the span; splits of it: pairs of smaller spans.
    value = {
        (kind, i, i): tf.zeros([], scores.dtype) for kind in "RL" for i in range(9)
    }
    splits, share = {}, {}

    def choose(options):
        totals = tf.stack([tf.add_n([value[part] for part in x]) for x in options])
        weights = tf.nn.softmax(totals / temperature)
        return tf.reduce_sum(weights * totals), weights

    for width in range(1, n + 1 - first):
        for i in range(first, n + 1 - width):
            j = i + width
            middle = range(i, j)
            splits["I", i, j] = [(("R", i, k), ("L", k + 1, j)) for k in middle]
            value["I", i, j], share["I", i, j] = choose(splits["I", i, j])
            value["r", i, j] = value["I", i, j] + scores[i, j]
            value["l", i, j] = value["I", i, j] + scores[j, i]
            splits["R", i, j] = [(("r", i, k + 1), ("R", k + 1, j)) for k in middle]
            splits["L", i, j] = [(("L", i, k), ("l", k, j)) for k in middle]
            for kind in "RL":
                value[kind, i, j], share[kind, i, j] = choose(splits[kind, i, j])
    weight = dict.fromkeys(value, tf.zeros([], scores.dtype))
    if n and single_root:
        for k in range(1, n + 1):
            value["root", k] = scores[0, k]
        options = [(("root", k), ("L", 1, k), ("R", k, n)) for k in range(1, n + 1)]
        for k, given in enumerate(tf.unstack(choose(options)[1]), start=1):
            arcs[0, k] = weight["L", 1, k] = weight["R", k, n] = given
    elif n:
        weight["R", 0, n] = tf.ones([], scores.dtype)
    for width in reversed(range(1, n + 1 - first)):
        for i in range(first, n + 1 - width):
            j = i + width
            for kind in "RLI":
                if kind == "I":
                    arcs[i, j], arcs[j, i] = weight["r", i, j], weight["l", i, j]
                    weight["I", i, j] = arcs[i, j] + arcs[j, i]
                shares = tf.unstack(share[kind, i, j] * weight[kind, i, j])
                for parts, given in zip(splits[kind, i, j], shares, strict=True):
                    for part in parts:
                        weight[part] = weight[part] + given
    # Column 0 gets nothing: no arc enters the root.
    rows = [
        [arcs.get((h, m), tf.zeros([], scores.dtype)) if m else 0.0 for m in range(5)]
        for h in range(5)
    ]
    return tf.stack([tf.stack([tf.cast(x, scores.dtype) for x in row]) for row in rows])
