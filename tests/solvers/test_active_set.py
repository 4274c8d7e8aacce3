"""SparseMAP against the optimality conditions over all structures."""

import numpy as np
import pytest
import tensorflow as tf

from tfnes import errors, solvers, structures

pytestmark = pytest.mark.usefixtures("without_xla")

CASES = [
    (structures.Categorical(), 6),
    (structures.Subset(k=3), 6),
    (structures.SpanningTree(), 5),
    (structures.Matching(), 3),
    (structures.DependencyTree(projective=False), 3),
    (structures.DependencyTree(projective=True, single_root=False), 3),
]


def project(structure, scores, **settings):
    return solvers.sparsemap(
        scores,
        argmax=structure.argmax,
        parts_rank=structure.parts_rank,
        **settings,
    )


@pytest.mark.parametrize(("structure", "nodes"), CASES, ids=lambda value: repr(value))
def test_no_structure_is_better_for_the_residual(structure, nodes):
    # u is the projection iff u is in the hull and <z - u, scores - u> <= 0 for all z.
    latents = structure.enumerate(nodes).astype(np.float64)
    used = latents.any(0)
    scores = np.random.default_rng(0).normal(size=[30, *used.shape])
    u = project(structure, tf.constant(scores), max_iterations=40).numpy()
    residual = np.where(used, scores - u, 0.0)
    axes = tuple(range(1, 1 + used.ndim))
    gains = np.tensordot(residual, latents, [axes, axes]) - (residual * u).sum(
        axes, keepdims=True
    ).reshape(-1, 1)
    assert gains.max() < 1e-6
    # In the hull: non-negative weights that sum to one reproduce u.
    from scipy.optimize import nnls

    rows = np.concatenate(
        [latents.reshape(len(latents), -1), np.ones([len(latents), 1])], 1
    )
    for row in u[:5]:
        _, distance = nnls(rows.T, np.append(row.ravel(), 1.0))
        assert distance < 1e-6


@pytest.mark.parametrize(("structure", "nodes"), CASES[1:4], ids=lambda v: repr(v))
def test_gradient_equals_finite_differences(structure, nodes):
    rng = np.random.default_rng(1)
    shape = structure.enumerate(nodes).shape[1:]
    scores = tf.constant(rng.normal(size=[8, *shape]))
    upstream, direction = rng.normal(size=[2, 8, *shape])

    def value(scores):
        u = project(structure, scores, max_iterations=40, tolerance=1e-12)
        return tf.reduce_sum(u * upstream, axis=list(range(1, 1 + len(shape))))

    with tf.GradientTape() as tape:
        tape.watch(scores)
        total = value(scores)
    gradient = tape.gradient(total, scores).numpy()
    step = 1e-6
    numeric = (value(scores + step * direction) - value(scores - step * direction)) / (
        2 * step
    )
    axes = tuple(range(1, 1 + len(shape)))
    np.testing.assert_allclose((gradient * direction).sum(axes), numeric, atol=1e-6)


def test_categorical_is_sparsemax():
    scores = np.random.default_rng(2).normal(size=[50, 7]).astype(np.float32)
    u = project(structures.Categorical(), scores).numpy()
    ordered = -np.sort(-scores, axis=1)
    sums = ordered.cumsum(1) - 1.0
    support = (ordered * np.arange(1, 8) > sums).sum(1)
    threshold = sums[np.arange(50), support - 1] / support
    expected = np.maximum(scores - threshold[:, None], 0.0)
    np.testing.assert_allclose(u, expected, atol=1e-5)


def test_large_scores_give_a_vertex_and_few_iterations_a_mixture_of_few():
    structure = structures.SpanningTree()
    scores = tf.random.stateless_normal([10, 45], [0, 1])
    u = project(structure, 1e6 * scores)
    np.testing.assert_allclose(u, structure.argmax(scores), atol=1e-4)
    none = project(structure, 0.1 * scores, max_iterations=0)
    np.testing.assert_array_equal(none, structure.argmax(scores))
    few = project(structure, 0.1 * scores, max_iterations=10)
    np.testing.assert_allclose(tf.reduce_sum(few, -1), 9.0, rtol=1e-5)


def test_leading_axes_lengths_and_graph():
    structure = structures.SpanningTree()
    scores = np.random.default_rng(3).normal(size=[2, 3, 15]).astype(np.float32)
    lengths = np.array([[6, 4, 2], [1, 0, 5]])
    high = np.triu_indices(6, 1)[1]
    padded = np.where(high < lengths[..., None], scores, np.nan)
    solve = tf.function(
        lambda x: project(structure, x, lengths=lengths), autograph=False
    )
    u = solve(tf.constant(padded)).numpy()
    assert u.shape == (2, 3, 15) and np.all(np.isfinite(u))
    np.testing.assert_allclose(u.sum(-1), np.maximum(lengths - 1, 0), atol=1e-5)
    real = high < 4
    alone = project(structure, scores[0, 1][real]).numpy()
    np.testing.assert_allclose(u[0, 1][real], alone, atol=1e-5)


def test_xla_gives_the_same_projection():
    structure = structures.Categorical()
    scores = tf.random.stateless_normal([4, 5], [0, 1])
    solve = tf.function(lambda x: project(structure, x), jit_compile=True)
    np.testing.assert_allclose(solve(scores), project(structure, scores), atol=1e-5)


def test_negative_iterations_are_refused():
    with pytest.raises(errors.ConfigurationError, match="max_iterations"):
        project(structures.Categorical(), tf.zeros([3]), max_iterations=-1)
