"""Co-occurrence vectors against counts and formulas written out."""

import numpy as np
import pytest

from tfnes.datasets.cooccurrence import cooccurrence_vectors
from tfnes.errors import ConfigurationError

TEXT = [["a", "x", "b"], ["a", "y", "b"], ["c", "x", "d"], ["a", "x"]]


def test_equals_the_factorized_information_matrix():
    contexts = ["a", "b"]
    words, vectors = cooccurrence_vectors(
        TEXT, dimension=4, contexts=contexts, window=1
    )
    assert words == ["a", "x", "b", "y", "c", "d"]
    table = np.zeros((6, 4))  # columns: a before, b before, a after, b after
    for sentence in TEXT:
        for i, word in enumerate(sentence):
            for offset, base in ((-1, 0), (1, 2)):
                j = i + offset
                if 0 <= j < len(sentence) and sentence[j] in contexts:
                    table[words.index(word), base + contexts.index(sentence[j])] += 1
    joint = table / table.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(joint / joint.sum(1, keepdims=True) / joint.sum(0))
    information = np.where(joint > 0, np.maximum(information, 0), 0)
    left, singular, _ = np.linalg.svd(information, full_matrices=False)
    expected = (left * singular) @ left.T  # invariant to signs and rotations
    gram = vectors @ vectors.T
    scale = np.trace(expected) / np.trace(gram)
    np.testing.assert_allclose(gram * scale, expected, atol=1e-6)
    np.testing.assert_allclose((vectors**2).mean(), 1, rtol=1e-6)


def test_words_with_the_same_neighbors_have_the_same_vector():
    words, vectors = cooccurrence_vectors(
        [*TEXT, ["a", "y"], ["c", "y", "d"]], dimension=3, contexts=["a", "b", "d"]
    )
    x, y = vectors[words.index("x")], vectors[words.index("y")]
    np.testing.assert_allclose(x, y, atol=1e-5)


def test_rare_words_and_too_many_dimensions():
    words, _ = cooccurrence_vectors(TEXT, dimension=2, contexts=["a"], min_count=2)
    assert words == ["a", "x", "b"]
    with pytest.raises(ConfigurationError, match=r"dimension must be in 1 ... 4"):
        cooccurrence_vectors(TEXT, dimension=5, contexts=["a"])
