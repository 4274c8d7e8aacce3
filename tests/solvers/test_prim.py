"""Maximum spanning trees against Kruskal, scipy and networkx."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse.csgraph
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfnes import errors, solvers, structures

pytestmark = pytest.mark.usefixtures("without_xla")


def kruskal(scores, vertices):
    """The reference: edges in decreasing order, components by label."""
    i, j = np.triu_indices(vertices, 1)
    label = np.arange(vertices)
    tree = np.zeros(len(i))
    for edge in np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable"):
        if label[i[edge]] != label[j[edge]]:
            tree[edge] = 1
            label[label == label[j[edge]]] = label[i[edge]]
    return tree


def scipy_weight(scores, vertices):
    matrix = np.zeros([vertices, vertices])
    shift = scores.max() + 1.0  # scipy reads 0 as "no edge"
    matrix[np.triu_indices(vertices, 1)] = shift - scores
    tree = scipy.sparse.csgraph.minimum_spanning_tree(matrix)
    return (vertices - 1) * shift - tree.sum()


@pytest.mark.parametrize("vertices", [2, 3, 10, 25, 50])
def test_same_tree_as_kruskal_on_distinct_scores(vertices):
    rng = np.random.default_rng(vertices)
    scores = rng.normal(size=[7, vertices * (vertices - 1) // 2]).astype(np.float32)
    trees = solvers.maximum_spanning_tree(scores)
    expected = [kruskal(row, vertices) for row in scores]
    np.testing.assert_array_equal(trees, expected)


@pytest.mark.parametrize("vertices", [100, 250])
def test_same_weight_as_scipy_on_large_graphs(vertices):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=[2, vertices * (vertices - 1) // 2])
    trees = solvers.maximum_spanning_tree(scores)
    assert np.all(structures.SpanningTree().contains(trees))
    weights = tf.reduce_sum(trees * scores, -1)
    expected = [scipy_weight(row, vertices) for row in scores]
    np.testing.assert_allclose(weights, expected, rtol=1e-10)


def test_same_weight_as_networkx():
    vertices = 12
    scores = np.random.default_rng(1).normal(size=vertices * (vertices - 1) // 2)
    graph = nx.Graph()
    pairs = zip(*np.triu_indices(vertices, 1), strict=True)
    for (i, j), score in zip(pairs, scores, strict=True):
        graph.add_edge(i, j, weight=score)
    expected = nx.maximum_spanning_tree(graph).size(weight="weight")
    tree = solvers.maximum_spanning_tree(scores)
    np.testing.assert_allclose(np.sum(tree * scores), expected)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_scores_with_ties_forbidden_edges_and_lengths(data):
    vertices = 6
    # TensorFlow reads subnormal numbers as 0: they tie with it.
    floats = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
    values = st.one_of(st.integers(-2, 2).map(float), floats, st.just(-np.inf))
    scores = np.array(data.draw(st.lists(values, min_size=15, max_size=15)), np.float32)
    length = data.draw(st.integers(0, vertices))
    with solvers.use_jit_compile(False):
        tree = solvers.maximum_spanning_tree(scores, lengths=length).numpy()
    assert structures.SpanningTree().contains(tree, lengths=tf.constant(length))
    real = np.triu_indices(vertices, 1)[1] < length
    expected = np.zeros(15)
    expected[real] = kruskal(scores[real], length)
    # The same edges, forbidden ones counted apart, up to ties.
    order = np.sort(scores[tree > 0]), np.sort(scores[expected > 0])
    np.testing.assert_array_equal(*order)


def test_permutation_shift_and_padding_change_nothing():
    rng = np.random.default_rng(2)
    vertices = 7
    scores = rng.normal(size=[5, 21]).astype(np.float32)
    tree = solvers.maximum_spanning_tree(scores).numpy()
    np.testing.assert_array_equal(solvers.maximum_spanning_tree(scores + 3.0), tree)

    order = rng.permutation(vertices)
    i, j = np.triu_indices(vertices, 1)
    matrix = np.zeros([5, vertices, vertices], np.float32)
    matrix[:, i, j] = matrix[:, j, i] = scores
    shuffled = matrix[:, order][:, :, order][:, i, j]
    chosen = np.zeros_like(matrix)
    chosen[:, i, j] = chosen[:, j, i] = tree
    expected = chosen[:, order][:, :, order][:, i, j]
    np.testing.assert_array_equal(solvers.maximum_spanning_tree(shuffled), expected)

    i, j = np.triu_indices(10, 1)
    padded = np.full([5, 45], np.nan, np.float32)
    padded[:, j < vertices] = scores
    result = solvers.maximum_spanning_tree(padded, lengths=np.full(5, vertices))
    np.testing.assert_array_equal(result.numpy()[:, j < vertices], tree)
    assert not result.numpy()[:, j >= vertices].any()


def test_xla_chunks_and_graphs_give_the_same_trees():
    scores = tf.random.stateless_normal([300, 15], [0, 1])
    expected = solvers.maximum_spanning_tree(scores)
    with solvers.use_jit_compile(True):
        static = tf.function(solvers.maximum_spanning_tree, autograph=False)
        np.testing.assert_array_equal(static(scores), expected)
        dynamic = tf.function(
            solvers.maximum_spanning_tree,
            autograph=False,
            input_signature=[tf.TensorSpec([None, 15])],
        )
        np.testing.assert_array_equal(dynamic(scores[:5]), expected[:5])
        np.testing.assert_array_equal(dynamic(scores[:8]), expected[:8])
        np.testing.assert_array_equal(dynamic(scores), expected)


def test_no_gradient_flows():
    scores = tf.Variable(tf.random.stateless_normal([15], [0, 1]))
    with tf.GradientTape() as tape:
        tree = tf.reduce_sum(solvers.maximum_spanning_tree(scores) * 2.0)
    assert tape.gradient(tree, scores) is None


def test_a_number_of_edges_that_no_complete_graph_has_is_an_error():
    with pytest.raises(errors.DataError, match=r"n\(n-1\)/2 edges.*Received: 4"):
        solvers.maximum_spanning_tree(tf.zeros([2, 4]))
