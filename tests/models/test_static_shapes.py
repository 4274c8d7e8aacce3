"""Shapes that depend on no value (for XLA) change no number."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnes
from tfnes.datasets.vocabulary import Vocabulary
from tfnes.estimators import NES
from tfnes.models.layers import pack_lengths
from tfnes.solvers import batching
from tfnes.structures import DependencyTree


@pytest.fixture(autouse=True)
def no_xla(without_xla):
    """Nothing to compile, the same results."""


def parser(vectors, *, projective, decoder_trainable):
    keras.utils.set_random_seed(0)
    vocabulary = Vocabulary(
        words=["<unk>", "<root>", "a", "b", "c", "d"],
        counts=[0, 0, 3, 2, 1, 1],
        relations=["<unk>", "x"],
        external_words=["<unk>", "<root>", "<init>", "a", "b"] if vectors else None,
        vectors=np.random.default_rng(0).normal(size=[5, 2]) if vectors else None,
    )
    return tfnes.models.Parser(
        DependencyTree(projective=projective),
        vocabulary=vocabulary,
        embedding_size=4,
        hidden_size=3,
        scorer_size=3,
        decoder_size=5,
        decoder_trainable=decoder_trainable,
    )


@pytest.mark.parametrize(
    ("vectors", "decoder_trainable"), [(True, True), (False, True), (False, False)]
)
def test_the_update_of_a_parser_is_the_same(vectors, decoder_trainable):
    # Sentences in no order, a word three times, one without words, garbage in padding.
    words = tf.constant([[2, 1, 1, 1, 1], [3, 2, 4, 2, 1], [1, 1, 1, 1, 1]])
    batch = {"words": words, "lengths": tf.constant([1, 4, 0]), "external": words - 1}
    if not vectors:
        del batch["external"]
    model = parser(vectors, projective=vectors, decoder_trainable=decoder_trainable)
    sigma = 0.3 if decoder_trainable else 3.0  # A frozen decoder sees trees alone.
    nes = NES(population_size=4, sigma=sigma)
    nes.build(model)
    nes.build_state(model)
    state = [(variable, variable.numpy()) for variable in nes.variables]
    seed = tfnes.random.make_seed(1)
    expected = nes.estimate(model, batch, seed=seed)
    expected_state = [variable.numpy() for variable in nes.variables]
    for variable, value in state:
        variable.assign(value)
    with batching.use_static_shapes():
        found = nes.estimate(model, batch, seed=seed)
    for (variable, start), value in zip(state, expected_state, strict=True):
        np.testing.assert_allclose(variable, value, rtol=1e-5)
        assert vectors or variable.name == "empty_steps" or np.any(value != start)
    assert float(expected.metrics["gradient_norm"]) > 0
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-5)
    for name, value in expected.metrics.items():
        np.testing.assert_allclose(found.metrics[name], value, rtol=1e-3, err_msg=name)
    for a, b in zip(found.gradients, expected.gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
    ((table, ids),) = found.touched
    ((_, expected_ids),) = expected.touched
    assert table is model.encoder.embedding
    distinct = len(expected_ids)
    assert distinct < len(ids)
    np.testing.assert_array_equal(ids[:distinct], expected_ids)
    assert np.all(ids[distinct:] == ids[0])


def test_a_padded_layout_runs_each_sentence_before_its_padding_both_ways():
    lengths = tf.constant([2, 0, 3])
    with batching.use_static_shapes():
        layout = pack_lengths(lengths, 4)
    tokens = layout.pack(tf.constant([[1, 2, 0, 0], [0, 0, 0, 0], [5, 6, 7, 0]]))
    mirrored = tf.gather(tokens, layout.reverse)
    times = np.asarray(mirrored).reshape(4, 3)
    np.testing.assert_array_equal(times.T, [[2, 1, 0, 0], [0] * 4, [7, 6, 5, 0]])
    np.testing.assert_array_equal(
        layout.unpack(tokens), [[1, 2, 0, 0], [0] * 4, [5, 6, 7, 0]]
    )
