"""Eisner and Chu-Liu-Edmonds: against enumeration, networkx and each other."""

import networkx
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfnes import errors, solvers, structures

SOLVERS = {True: solvers.eisner, False: solvers.chu_liu_edmonds}
KINDS = [(p, s) for p in (True, False) for s in (True, False)]
TREES = {
    (projective, single_root, n): structures.DependencyTree(
        projective=projective, single_root=single_root
    ).enumerate(n)
    for projective, single_root in KINDS
    for n in range(5)
}


def score(potentials, heads, length):
    """Sum of the scores of the arcs of one tree."""
    return sum(potentials[heads[m - 1], m] for m in range(1, length + 1))


def best(potentials, trees):
    size = trees.shape[-1]
    return max(potentials[:size, :size][tree > 0].sum() for tree in trees)


def is_tree(heads, *, single_root, projective):
    """Whether the heads are a tree; checked by walking up, arc by arc."""
    for word in range(1, len(heads) + 1):
        node, steps = word, 0
        while node and steps <= len(heads):
            node, steps = heads[node - 1], steps + 1
        if node:
            return False
    arcs = [(min(h, m), max(h, m)) for m, h in enumerate(heads, 1)]
    crossing = any(a < c < b < d for a, b in arcs for c, d in arcs)
    roots = int(np.sum(np.asarray(heads) == 0))
    return (not single_root or roots == min(1, len(heads))) and not (
        projective and crossing
    )


@pytest.mark.parametrize(("projective", "single_root"), KINDS)
@pytest.mark.usefixtures("without_xla")
class TestOptimum:
    @settings(max_examples=25, deadline=None)
    @given(data=st.data())
    def test_equals_enumeration(self, projective, single_root, data):
        values = st.one_of(
            st.integers(-2, 2).map(float),  # ties
            st.just(-np.inf),
            st.floats(-1e6, 1e6, width=32),
        )
        potentials = data.draw(hnp.arrays(np.float32, (6, 5, 5), elements=values))
        lengths = data.draw(hnp.arrays(np.int32, 6, elements=st.integers(0, 4)))
        for row, length in zip(potentials, lengths, strict=True):
            row[length + 1 :], row[:, length + 1 :] = np.nan, np.nan
            row[:, 0], row[range(5), range(5)] = np.nan, np.nan
        heads = SOLVERS[projective](
            potentials, lengths=lengths, single_root=single_root
        ).numpy()
        for row, length, found in zip(potentials, lengths, heads, strict=True):
            assert is_tree(
                found[:length], single_root=single_root, projective=projective
            )
            assert not found[length:].any()
            expected = best(row, TREES[projective, single_root, length])
            np.testing.assert_allclose(
                score(row, found, length), expected, rtol=1e-5, atol=1e-5
            )

    def test_shift_and_relabeling(self, projective, single_root):
        rng = np.random.default_rng(0)
        potentials = rng.normal(size=(20, 9, 9))
        solve = SOLVERS[projective]
        heads = solve(potentials, single_root=single_root).numpy()
        # Every word has one head: a constant for each word changes nothing.
        shift = 5.0 * rng.normal(size=(20, 1, 9))
        again = solve(potentials + shift, single_root=single_root).numpy()
        np.testing.assert_array_equal(heads, again)
        # Reversing the sentence reverses the trees (and keeps projectivity).
        order = np.r_[0, 8:0:-1]
        mirrored = solve(potentials[:, order][:, :, order], single_root=single_root)
        np.testing.assert_array_equal(order[heads[:, ::-1]], mirrored.numpy())

    def test_padding_changes_nothing(self, projective, single_root):
        rng = np.random.default_rng(1)
        potentials = rng.normal(size=(7, 6, 6)).astype(np.float32)
        padded = np.full((7, 12, 12), np.nan, np.float32)
        padded[:, :6, :6] = potentials
        solve = SOLVERS[projective]
        heads = solve(potentials, single_root=single_root)
        wide = solve(padded, lengths=np.full(7, 5), single_root=single_root)
        np.testing.assert_array_equal(heads, wide[:, :5])

    def test_leading_axes_and_chunks(self, projective, single_root):
        rng = np.random.default_rng(2)
        potentials = rng.normal(size=(3, 150, 4, 4)).astype(np.float32)
        lengths = rng.integers(0, 4, (3, 150))
        solve = SOLVERS[projective]
        heads = solve(potentials, lengths=lengths, single_root=single_root)
        assert heads.shape == (3, 150, 3)
        for i in (0, 2):
            for j in (0, 127, 128, 149):
                one = solve(
                    potentials[i, j], lengths=lengths[i, j], single_root=single_root
                )
                np.testing.assert_array_equal(heads[i, j], one)

    @pytest.mark.parametrize("n", [0, 1])
    def test_no_word_and_one_word(self, projective, single_root, n):
        heads = SOLVERS[projective](
            tf.zeros([2, n + 1, n + 1]), single_root=single_root
        )
        np.testing.assert_array_equal(heads, np.zeros([2, n]))

    def test_empty_batch(self, projective, single_root):
        heads = SOLVERS[projective](tf.zeros([0, 4, 4]), single_root=single_root)
        assert heads.shape == (0, 3)

    def test_unknown_shapes_in_one_graph(self, projective, single_root):
        solve = tf.function(
            lambda x, n: SOLVERS[projective](x, lengths=n, single_root=single_root),
            input_signature=[
                tf.TensorSpec([None, None, None], tf.float32),
                tf.TensorSpec([None], tf.int32),
            ],
        )
        for n in (3, 6):
            x = tf.random.stateless_normal([4, n + 1, n + 1], [n, 0])
            expected = SOLVERS[projective](x, single_root=single_root)
            np.testing.assert_array_equal(solve(x, tf.fill([4], n)), expected)
        assert solve.experimental_get_tracing_count() == 1

    def test_xla_gives_the_same_tree(self, projective, single_root):
        rng = np.random.default_rng(3)
        potentials = np.round(rng.normal(size=(8, 7, 7)))  # ties
        lengths = np.arange(8) % 7
        solve = SOLVERS[projective]
        heads = solve(potentials, lengths=lengths, single_root=single_root)
        with solvers.use_jit_compile(True):
            compiled = solve(potentials, lengths=lengths, single_root=single_root)
        np.testing.assert_array_equal(heads, compiled)

    def test_refuses_wrong_input(self, projective, single_root):
        solve = SOLVERS[projective]
        with pytest.raises(ValueError, match=r"n\+1, n\+1"):
            solve(tf.zeros([2, 3, 4]), single_root=single_root)
        with pytest.raises(ValueError, match="float32 or float64"):
            solve(tf.zeros([3, 3], tf.int32), single_root=single_root)


@pytest.mark.usefixtures("without_xla")
class TestNonProjective:
    @pytest.mark.parametrize("n", [8, 25])
    def test_equals_networkx(self, n):
        rng = np.random.default_rng(n)
        potentials = rng.normal(size=(4, n + 1, n + 1)).round(1)
        several = solvers.chu_liu_edmonds(potentials, single_root=False).numpy()
        single = solvers.chu_liu_edmonds(potentials).numpy()
        for row, many, one in zip(potentials, several, single, strict=True):
            assert is_tree(many, single_root=False, projective=False)
            assert is_tree(one, single_root=True, projective=False)
            assert score(row, many, n) == pytest.approx(arborescence(row))
            # networkx has no root constraint: lower all arcs of the root alike.
            expected = arborescence(row - 1e4 * (np.arange(n + 1) == 0)[:, None])
            assert score(row, one, n) == pytest.approx(expected + 1e4)

    @pytest.mark.parametrize("single_root", [True, False])
    @pytest.mark.parametrize("n", [5, 25, 250])
    def test_equals_plain_contraction(self, n, single_root):
        # The recursion itself is held to networkx and to enumeration below.
        rng = np.random.default_rng(n)
        potentials = rng.normal(size=(2, n + 1, n + 1))
        heads = solvers.chu_liu_edmonds(potentials, single_root=single_root).numpy()
        for row, found in zip(potentials, heads, strict=True):
            assert is_tree(found, single_root=single_root, projective=False)
            plain = plain_chu_liu_edmonds(row, single_root)
            assert is_tree(plain, single_root=single_root, projective=False)
            expected = score(row, plain, n)
            assert score(row, found, n) == pytest.approx(expected, rel=1e-12)

    def test_the_plain_contraction_itself(self):
        potentials = np.random.default_rng(0).normal(size=(26, 26))
        heads = plain_chu_liu_edmonds(potentials, single_root=False)
        assert score(potentials, heads, 25) == pytest.approx(arborescence(potentials))
        for single_root in (True, False):
            heads = plain_chu_liu_edmonds(potentials[:5, :5], single_root)
            expected = best(potentials, TREES[False, single_root, 4])
            assert score(potentials, heads, 4) == pytest.approx(expected)


@pytest.mark.usefixtures("without_xla")
class TestProjective:
    @pytest.mark.parametrize(("n", "single_root"), [(250, False), (250, True)])
    def test_long_sentence_equals_plain_dynamic_program(self, n, single_root):
        potentials = np.random.default_rng(1).normal(size=(n + 1, n + 1))
        heads = solvers.eisner(potentials, single_root=single_root).numpy()
        assert is_tree(heads, single_root=single_root, projective=True)
        expected = plain_eisner(potentials, single_root)
        assert score(potentials, heads, n) == pytest.approx(expected, rel=1e-12)


def arborescence(potentials):
    """Score of networkx's maximum spanning arborescence."""
    graph = networkx.DiGraph()
    nodes = range(len(potentials))
    graph.add_weighted_edges_from(
        (h, m, potentials[h, m]) for h in nodes for m in nodes if m and h != m
    )
    tree = networkx.maximum_spanning_arborescence(graph)
    return sum(potentials[arc] for arc in tree.edges)


def plain_chu_liu_edmonds(potentials, single_root):
    """Heads of the best tree, by the textbook's recursive contraction of cycles."""
    scores = np.array(potentials, np.float64)
    if single_root:
        # A constant less for each arc of the root: the fewest possible, that is one.
        scores[0] -= 2 * len(scores) * np.abs(scores).max()
    np.fill_diagonal(scores, -np.inf)
    scores[:, 0] = -np.inf
    return _contract(scores)[1:]


def _contract(scores):
    """Heads of all nodes, 0 for the root; `[head, modifier]`, -inf: no arc."""
    heads = np.r_[0, scores[:, 1:].argmax(0)]
    cycle = _cycle(heads)
    if not cycle:
        return heads
    inside = np.zeros(len(heads), bool)
    inside[cycle] = True
    outside = np.flatnonzero(~inside)  # the root stays first
    gain = scores[:, cycle] - scores[heads[cycle], cycle]
    smaller = np.full([len(outside) + 1] * 2, -np.inf)
    smaller[:-1, :-1] = scores[np.ix_(outside, outside)]
    smaller[:-1, -1] = gain[outside].max(1)
    smaller[-1, :-1] = scores[np.ix_(cycle, outside)].max(0)
    found = _contract(smaller)
    for node, head in zip(outside[1:], found[1:-1], strict=True):
        if head == len(outside):
            heads[node] = cycle[scores[cycle, node].argmax()]
        else:
            heads[node] = outside[head]
    entry = outside[found[-1]]
    heads[cycle[gain[entry].argmax()]] = entry
    return heads


def _cycle(heads):
    """The nodes of some cycle of the heads, none if they are a tree."""
    color = np.zeros(len(heads), int)
    for start in range(1, len(heads)):
        node = start
        while node and not color[node]:
            color[node] = start
            node = heads[node]
        if node and color[node] == start:
            cycle = [node]
            while heads[cycle[-1]] != node:
                cycle.append(heads[cycle[-1]])
            return cycle
    return []


def plain_eisner(potentials, single_root):
    """Score of the best projective tree, by the textbook's recursion over spans."""
    size = len(potentials)
    left, right = np.zeros((size, size)), np.zeros((size, size))
    left_arc, right_arc = np.zeros((size, size)), np.zeros((size, size))
    for width in range(1, size):
        for s in range(size - width):
            t = s + width
            inner = (right[s, s:t] + left[s + 1 : t + 1, t]).max()
            left_arc[s, t] = inner + potentials[t, s]
            right_arc[s, t] = inner + potentials[s, t]
            left[s, t] = (left[s, s:t] + left_arc[s:t, t]).max()
            right[s, t] = (right_arc[s, s + 1 : t + 1] + right[s + 1 : t + 1, t]).max()
    if not single_root:
        return right[0, -1]
    return max(potentials[0, r] + left[1, r] + right[r, -1] for r in range(1, size))


@pytest.mark.usefixtures("without_xla")
class TestValidate:
    @pytest.mark.parametrize("projective", [True, False])
    def test_reports_the_example(self, projective):
        tree = structures.DependencyTree(projective=projective)
        scores = np.zeros((3, 4, 4), np.float32)
        tree.argmax(scores, validate=True)
        scores[1, :, 2] = -np.inf
        with pytest.raises(errors.DataError, match=r"Example \[1\].*forbidden"):
            tree.argmax(scores, validate=True)
        scores[2, 1, 3] = np.nan
        with pytest.raises(errors.DataError, match=r"Example \[2\].*NaN"):
            tree.argmax(scores, validate=True)
        # What is padding is not looked at.
        tree.argmax(scores, lengths=[3, 1, 2], validate=True)

    def test_in_a_graph(self):
        tree = structures.DependencyTree()
        solve = tf.function(lambda x: tree.argmax(x, validate=True))
        with pytest.raises(tf.errors.InvalidArgumentError, match="forbidden"):
            solve(tf.fill([1, 3, 3], -np.inf))

    def test_two_words_that_both_need_the_root(self):
        scores = np.zeros((1, 3, 3), np.float32)
        scores[0, 1:] = -np.inf
        several = structures.DependencyTree(projective=False, single_root=False)
        several.argmax(scores, validate=True)
        with pytest.raises(errors.DataError, match="one word on the root"):
            structures.DependencyTree(projective=False).argmax(scores, validate=True)


def test_heads_and_latents_are_inverse():
    heads = np.array([[2, 0, 2, 0], [0, 1, 0, 0]])
    latent = solvers.latent_from_heads(heads, lengths=[3, 2])
    np.testing.assert_array_equal(tf.reduce_sum(latent, [1, 2]), [3, 2])
    assert latent[0, 2, 1] == latent[0, 0, 2] == latent[0, 2, 3] == 1
    np.testing.assert_array_equal(solvers.heads_from_latent(latent), heads)
