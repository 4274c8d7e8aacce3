"""The parser as a whole."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnes
from tfnes import random
from tfnes.datasets import DemoTreebank
from tfnes.errors import ConfigurationError
from tfnes.estimators.supervised import Supervised
from tfnes.metrics import LAS, UAS
from tfnes.models import Parser
from tfnes.models.parser_inputs import (
    dropout_masks,
    gold_trees,
    sentence_inputs,
)
from tfnes.structures import DependencyTree

SIZES = dict(embedding_size=6, hidden_size=5, scorer_size=7, decoder_size=8)
SEED = random.make_seed(3)


@pytest.fixture(scope="module")
def data():
    return DemoTreebank(
        source_train=24, source_dev=8, source_test=4, target_train=8, target_dev=4
    )


@pytest.fixture(scope="module", autouse=True)
def no_xla():
    with tfnes.solvers.use_jit_compile(False):
        yield


def _parser(data, **settings):
    keras.utils.set_random_seed(0)
    model = Parser(DependencyTree(), **{**SIZES, **settings})
    model.adapt(data)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        # Scores far apart: no ties, and every part of the model matters.
        variable.assign(rng.normal(size=variable.shape) * 0.5)
    return model


@pytest.fixture(scope="module")
def parser(data):
    return _parser(data)


@pytest.fixture(scope="module")
def batch(data):
    dataset = data.get_dataset("source_train", batch_size=5, batching="random")
    return next(iter(dataset))


def _rows(batch, rows):
    return {key: tf.gather(value, rows) for key, value in batch.items()}


def _padded(batch, *, columns, rows):
    """Returns `batch` with more columns of garbage and rows without words."""
    result = {}
    for key, value in batch.items():
        pad = [[0, rows]] + [[0, columns]] * (value.shape.rank - 1)
        fill = 0 if key in ("lengths", "punctuation") else 1
        result[key] = tf.pad(value, pad, constant_values=tf.cast(fill, value.dtype))
    return result


def test_elbo_is_the_base_class_elbo(parser, batch):
    grouped = parser.elbo(batch, seed=SEED)
    plain = super(Parser, parser).elbo_at(
        batch,
        parser.encode(batch),
        shared={"latent_seed": random.fold_in(SEED, int(random.Stream.LATENT_NOISE))},
    )
    np.testing.assert_array_equal(grouped.latent, plain.latent)
    np.testing.assert_allclose(grouped.log_potentials, plain.log_potentials, atol=1e-6)
    np.testing.assert_allclose(grouped.log_likelihood, plain.log_likelihood, atol=1e-6)
    assert bool(
        tf.reduce_all(
            parser.structure.contains(grouped.latent, lengths=batch["lengths"])
        )
    )


def test_shared_terms_of_a_frozen_decoder_change_nothing(data, batch):
    model = _parser(data)
    expected = model.elbo(batch, seed=SEED).neg_elbo
    model.decoder_trainable = False
    shared = model.shared_terms(batch, seed=SEED)
    assert "decoder" in shared
    np.testing.assert_allclose(
        model.elbo(batch, shared=shared).neg_elbo, expected, rtol=1e-6
    )
    assert not any("decoder" in v.path for v in model.trainable_variables)


@pytest.mark.parametrize("columns, rows", [(8, 0), (0, 3), (8, 2)])
def test_padding_changes_nothing(parser, batch, columns, rows):
    size, length = batch["words"].shape
    before = parser.elbo(batch, seed=SEED)
    after = parser.elbo(_padded(batch, columns=columns, rows=rows), seed=SEED)
    np.testing.assert_allclose(
        after.neg_elbo[:size], before.neg_elbo, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(after.neg_elbo[size:], 0.0)
    side = length + 1
    np.testing.assert_array_equal(after.latent[:size, :side, :side], before.latent)
    assert float(tf.reduce_sum(after.latent)) == float(tf.reduce_sum(before.latent))


def test_sentences_do_not_see_each_other(parser, batch):
    together = parser.elbo(batch, seed=SEED).neg_elbo
    losses = parser.supervised_loss(batch, seed=SEED)["loss"]
    for row in (0, 3):
        alone = _rows(batch, [row])
        np.testing.assert_allclose(
            parser.elbo(alone, seed=SEED).neg_elbo[0], together[row], rtol=1e-5
        )
        np.testing.assert_allclose(
            parser.supervised_loss(alone, seed=SEED)["loss"][0], losses[row], rtol=1e-5
        )


def test_order_of_rows_does_not_matter(parser, batch):
    order = [3, 0, 4, 1, 2]
    expected = tf.gather(parser.elbo(batch, seed=SEED).neg_elbo, order)
    result = parser.elbo(_rows(batch, order), seed=SEED).neg_elbo
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_one_trace_serves_all_lengths(parser, data):
    dataset = data.get_dataset("source_train", batch_size=8)
    traces = []

    @tf.function(input_signature=[dataset.element_spec], autograph=False)
    def run(batch):
        traces.append(1)
        return parser.elbo(batch, seed=SEED).neg_elbo

    assert len({batch["words"].shape[1] for batch in dataset}) > 1
    for batch in dataset:
        assert run(batch).shape == batch["lengths"].shape
    assert len(traces) == 1


def test_arc_loss_is_the_cross_entropy_over_all_heads(parser, batch):
    model = parser
    loss = _no_dropout(model, batch)
    scores = model.encode(batch).numpy().astype(np.float64)
    for row, length in enumerate(batch["lengths"].numpy()):
        square = scores[row, : length + 1, 1 : length + 1]
        log_z = np.log(np.exp(square).sum(axis=0))
        heads = batch["heads"][row, :length].numpy()
        expected = np.mean(log_z - square[heads, np.arange(length)])
        np.testing.assert_allclose(loss["arc_loss"][row], expected, rtol=1e-4)
    reconstruction = model.log_likelihood(batch, gold_trees(batch, tf.float32))
    np.testing.assert_allclose(loss["reconstruction_loss"], -reconstruction, rtol=1e-5)
    np.testing.assert_allclose(
        loss["loss"], sum(loss[name] for name in model.supervised_loss_names), rtol=1e-5
    )


def _no_dropout(model, batch):
    rates, model._drop_rates = model._drop_rates, np.zeros_like(model._drop_rates)
    try:
        return model.supervised_loss(batch, seed=SEED)
    finally:
        model._drop_rates = rates


def test_gradient_of_the_supervised_loss(parser, batch):
    """Against central differences along one random direction of each variable."""
    variables = parser.trainable_variables
    rng = np.random.default_rng(5)

    @tf.function(autograph=False)
    def total():
        return tf.reduce_mean(parser.supervised_loss(batch, seed=SEED)["loss"])

    with tf.GradientTape() as tape:
        loss = total()
    gradients = tape.gradient(loss, [v.value for v in variables])
    for variable, gradient in zip(variables, gradients, strict=True):
        before = variable.numpy()
        direction = rng.normal(size=before.shape).astype(np.float32)
        direction /= np.linalg.norm(direction)
        # The direction of the gradient itself: a difference that float32 can see.
        gradient = tf.convert_to_tensor(gradient).numpy()
        direction += gradient / np.linalg.norm(gradient)
        step = 0.03
        variable.assign(before + step * direction)
        high = float(total())
        variable.assign(before - step * direction)
        low = float(total())
        variable.assign(before)
        expected = float(np.sum(gradient * direction))
        assert expected > 0
        np.testing.assert_allclose(
            (high - low) / (2 * step),
            expected,
            rtol=0.03,
            atol=2e-4,
            err_msg=variable.path,
        )


def test_encoder_gradient_flows_through_a_relaxed_latent(parser, batch):
    with tf.GradientTape() as tape:
        latent = tf.sigmoid(parser.encode(batch))
        loss = -tf.reduce_mean(parser.log_likelihood(batch, latent))
    variables = parser.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    used = {id(v) for v in parser.elbo_variables}
    for variable, gradient in zip(variables, gradients, strict=True):
        assert (gradient is not None) == (id(variable) in used), variable.path


def test_a_decoder_that_is_frozen_from_the_start_is_not_trained(data):
    model = _parser(data, decoder_trainable=False)
    names = {v.path for v in model.trainable_variables}
    assert names and not any("decoder" in name for name in names)
    model.decoder_trainable = True
    assert len(model.trainable_variables) > len(names)


def test_elbo_variables(data):
    model = _parser(data)
    names = {v.path for v in model.elbo_variables}
    assert not any("relation_scorer" in name for name in names)
    assert len(model.trainable_variables) - len(names) == 5
    model.elbo_with_relations = True
    assert len(model.elbo_variables) == len(model.trainable_variables)


def test_relation_scorer_does_not_change_the_elbo(parser, batch):
    before = parser.elbo(batch, seed=SEED).neg_elbo
    for variable in parser.encoder.relation_scorer.variables:
        variable.assign_add(tf.ones_like(variable))
    np.testing.assert_array_equal(parser.elbo(batch, seed=SEED).neg_elbo, before)
    for variable in parser.encoder.relation_scorer.variables:
        variable.assign_sub(tf.ones_like(variable))


def test_touched_rows_are_those_that_matter(parser, batch):
    ((table, ids),) = parser.touched_rows(batch)
    ids = set(ids.numpy().tolist())
    assert 1 in ids
    assert len(ids) < len(table.numpy()) / 2
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(parser.encode(batch) ** 2)
    gradient = tf.convert_to_tensor(tape.gradient(loss, table.value)).numpy()
    assert set(np.flatnonzero(np.abs(gradient).sum(axis=1))) == ids


def test_prediction(parser, batch):
    padded = _padded(batch, columns=3, rows=2)
    outputs = parser.predict_batch(padded)
    np.testing.assert_array_equal(
        outputs["heads"],
        parser.structure.heads(parser.encode(padded), lengths=padded["lengths"]),
    )
    relations, heads = outputs["relations"].numpy(), outputs["heads"].numpy()
    mask = np.arange(relations.shape[1]) < padded["lengths"].numpy()[:, None]
    assert (relations[~mask] == 0).all() and (relations[mask] > 0).all()
    assert (heads[~mask] == 0).all()
    universal = [r.split(":")[0] for r in parser.vocabulary.relations]
    for row, column in np.argwhere(mask)[::7]:
        number = outputs["universal_relations"].numpy()[row, column]
        first = universal.index(universal[relations[row, column]])
        assert parser.universal_relations[first] == number


def test_prediction_names_the_sentence_that_has_no_right_answer(parser, batch):
    class Forbidding(DependencyTree):
        def has_finite_optimum(self, latent, log_potentials, *, lengths=None):
            return lengths != tf.reduce_max(batch["lengths"])

    longest = int(np.argmax(batch["lengths"]))
    structure, parser.structure = parser.structure, Forbidding()
    found = rf"(?s)no finite optimum.*\n{longest}"
    with pytest.raises(tf.errors.InvalidArgumentError, match=found):
        parser.predict_batch(batch)
    parser.structure = structure
    parser.predict_batch(batch)


def test_dropout_of_a_feature_is_its_absence_from_the_whole_sentence(data, batch):
    model = _parser(data)
    inputs = sentence_inputs(batch)
    size = len(batch["lengths"])
    masks = [np.ones((size, n), np.float32) for n in model.encoder.feature_sizes]
    vectors = tf.convert_to_tensor(model.decoder_table)
    plain = model.encoder(inputs, vectors)
    np.testing.assert_allclose(model.encoder(inputs, vectors, masks), plain, atol=1e-6)
    # The third feature of a word is one of its trained embedding.
    masks[0][1, 2] = 0.0
    masked = model.encoder(inputs, vectors, masks)
    table = model.encoder.embedding
    table.assign(table * (np.arange(table.shape[1]) != 2))
    without = model.encoder(inputs, vectors)
    second = (inputs.layout.rows == 1)[:, None]
    np.testing.assert_allclose(masked, tf.where(second, without, plain), atol=1e-6)
    assert np.abs(without - plain).max() > 1e-3


def test_dropout_keeps_the_mean_and_is_of_supervised_training_alone(data, batch):
    (mask,) = dropout_masks(batch, rate=0.3, sizes=[4000], seed=SEED)
    assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / 0.7)}
    np.testing.assert_allclose(np.mean(mask), 1, atol=0.03)
    losses = [
        _parser(data, word_dropout=0.0, dropout=rate).supervised_loss(batch, seed=SEED)
        for rate in (0.0, 0.3)
    ]
    assert np.abs(losses[0]["arc_loss"] - losses[1]["arc_loss"]).min() > 1e-4
    scores = [_parser(data, dropout=rate).encode(batch) for rate in (0.0, 0.3)]
    np.testing.assert_array_equal(*scores)


def test_drop_rates_follow_the_counts(parser):
    counts = np.array(parser.vocabulary.counts, float)
    np.testing.assert_allclose(parser._drop_rates, 0.25 / (counts + 0.25), rtol=1e-6)


@pytest.mark.parametrize("dimension", [0, 50])
def test_saved_model_is_the_same_model(tmp_path, batch, dimension):
    data = DemoTreebank(source_train=12, target_train=4, vector_dimension=dimension)
    batch = next(iter(data.get_dataset("source_train", batch_size=4)))
    model = _parser(data, decoder_trainable=False, word_dropout=0.1)
    assert ("external" in batch) == bool(dimension)
    model.save(tmp_path / "parser.keras")
    twin = keras.saving.load_model(tmp_path / "parser.keras")
    assert twin.get_config() == model.get_config()
    assert twin.vocabulary.words == data.vocabulary.words
    np.testing.assert_array_equal(
        twin.elbo(batch, seed=SEED).neg_elbo, model.elbo(batch, seed=SEED).neg_elbo
    )
    assert [v.path for v in twin.elbo_variables] == [
        v.path for v in model.elbo_variables
    ]


def test_without_vectors_the_decoder_has_its_own_embedding(batch):
    data = DemoTreebank(source_train=12, target_train=4, vector_dimension=0)
    model = _parser(data)
    assert model.decoder_table.shape == (len(data.vocabulary.words), 6)
    assert any(v is model.decoder_table for v in model.trainable_variables)
    model.decoder_trainable = False
    assert not any(v is model.decoder_table for v in model.trainable_variables)


def test_another_vocabulary_is_refused(parser):
    other = DemoTreebank(source_train=6, target_train=2, seed=9)
    with pytest.raises(ConfigurationError, match="another one"):
        parser.adapt(other)


def test_learns_five_sentences_by_heart(data):
    dataset = data.get_dataset("source_train", batch_size=5, batching="random").take(1)
    keras.utils.set_random_seed(1)
    model = Parser(
        DependencyTree(projective=False),
        embedding_size=16,
        hidden_size=16,
        scorer_size=16,
        decoder_size=16,
    )
    model.adapt(data)
    model.compile(keras.optimizers.Adam(3e-2), Supervised(), metrics=[UAS(), LAS()])
    model.fit(dataset.repeat(40), verbose=0)
    results = model.evaluate(dataset, verbose=0, return_dict=True)
    assert results["uas"] > 0.97
    assert results["las"] > 0.95
    assert results["neg_elbo"] < 3.5
