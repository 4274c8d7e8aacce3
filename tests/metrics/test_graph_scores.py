"""Edge metrics against set arithmetic, and the trivial solutions."""

import itertools
import os
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfnes import metrics
from tfnes.datasets import GraphLayout
from tfnes.errors import ConfigurationError
from tfnes.solvers import prim

CLASSES = {
    "precision": metrics.EdgePrecision,
    "recall": metrics.EdgeRecall,
    "f1": metrics.EdgeF1,
}
SAMPLE = pathlib.Path(
    os.environ.get(
        "TFNES_SHARED_DATA", pathlib.Path(__file__).parents[3] / "shared" / "data"
    ),
    "graph_layout/graph_layout_10t_10n.npz",
)


def counted(score, predicted, gold):
    """Set arithmetic, example by example."""
    values = []
    for z, g in zip(predicted, gold, strict=True):
        z, g = set(np.flatnonzero(z)), set(np.flatnonzero(g))
        if not z and not g:
            values.append(1.0)
        elif score == "precision":
            values.append(len(z & g) / len(z) if z else 0.0)
        elif score == "recall":
            values.append(len(z & g) / len(g) if g else 0.0)
        else:
            values.append(2 * len(z & g) / (len(z) + len(g)))
    return np.mean(values)


def edge_sets(seed=0, size=9, num_edges=10, share=0.3):
    rng = np.random.default_rng(seed)
    predicted = (rng.uniform(size=[size, num_edges]) < share).astype(np.float32)
    gold = (rng.uniform(size=[size, num_edges]) < 0.3).astype(np.float32)
    predicted[0] = 0
    gold[0] = gold[1] = 0
    predicted[2] = 1
    return predicted, gold


def score(metric, predicted, gold, key="latent"):
    for rows in (slice(0, 4), slice(4, None)):
        metric.update_state(
            {"edges": tf.constant(gold[rows])}, {key: tf.constant(predicted[rows])}
        )
    return float(metric.result())


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("share", [0.2, 0.8])
def test_scores_are_means_of_set_arithmetic(name, share):
    predicted, gold = edge_sets(share=share)
    make = CLASSES[name]
    direct = counted(name, predicted, gold)
    complement = counted(name, 1 - predicted, gold)
    assert score(make(), predicted, gold) == pytest.approx(direct)
    found = score(make(reading="complement"), predicted, gold)
    assert found == pytest.approx(complement)
    better = counted("precision", predicted, gold) >= counted(
        "precision", 1 - predicted, gold
    )
    found = score(make(reading="better"), predicted, gold)
    assert found == pytest.approx(direct if better else complement)


def test_better_is_decided_by_precision_over_all_data_not_by_example():
    gold = np.tile([1.0, 0.0, 0.0, 0.0], [3, 1])
    predicted = np.array([[0, 1, 1, 1.0]] * 2 + [[1, 0, 0, 0]])
    assert score(metrics.EdgeF1(reading="better"), predicted, gold) == pytest.approx(
        2 / 3
    )


def test_a_sample_may_be_scored_instead_of_the_map_structure():
    predicted, gold = edge_sets()
    metric = metrics.EdgeF1(output="sample", reading="complement")
    assert metric.name == "sample_complement_edge_f1"
    assert metrics.EdgeF1().name == "edge_f1"
    expected = counted("f1", 1 - predicted, gold)
    assert score(metric, predicted, gold, key="sample") == pytest.approx(expected)


def test_padding_does_not_count():
    predicted, gold = edge_sets()
    batch = {"edges": tf.constant(gold), "lengths": tf.constant([0] * 5 + [3] * 4)}
    metric = metrics.EdgePrecision()
    metric.update_state(batch, {"latent": tf.constant(predicted)})
    expected = counted("precision", predicted[5:], gold[5:])
    assert float(metric.result()) == pytest.approx(expected)


@pytest.mark.parametrize(
    "metric",
    [
        metrics.EdgeF1(reading="better", output="sample"),
        metrics.EdgeRecall(gold="tree"),
        metrics.CopyLastFrame(variance=0.3),
        metrics.RandomGraph(gold="tree"),
    ],
)
def test_configurations_survive(metric):
    config = keras.saving.serialize_keras_object(metric)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == metric.get_config()


def test_an_unknown_reading_is_refused():
    with pytest.raises(ConfigurationError, match="reading must be one of"):
        metrics.EdgeF1(reading="inverse")


def test_random_trees_score_two_over_n():
    num_vertices, size = 8, 4000
    rng = np.random.default_rng(0)

    def trees():
        weights = rng.normal(size=[size, num_vertices * (num_vertices - 1) // 2])
        return prim.maximum_spanning_tree(tf.constant(weights, tf.float32)).numpy()

    predicted, gold = trees(), trees()
    found = score(metrics.EdgeF1(), predicted, gold)
    expected = metrics.random_tree_f1(num_vertices)
    assert expected == 0.25
    assert abs(found - expected) < 5 * 0.2 / np.sqrt(size)
    baseline = metrics.RandomGraph()
    baseline.update_state({"edges": tf.constant(gold)})
    assert float(baseline.result()) == pytest.approx(expected)


def test_copying_the_last_frame_is_the_decoder_that_adds_nothing():
    positions = np.random.default_rng(0).normal(size=[3, 5, 4, 2]).astype(np.float32)
    expected = []
    for example in positions:
        error = sum(np.square(b - a).sum() for a, b in itertools.pairwise(example))
        expected.append(-error / (2 * 0.1) / 4)
    found = metrics.copy_last_frame_elbo(tf.constant(positions), variance=0.1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.skipif(not SAMPLE.exists(), reason="the frozen sample is not there")
def test_trivial_values_of_the_frozen_sample():
    data = GraphLayout(path=SAMPLE)
    batch = next(iter(data.get_dataset("validation", batch_size=500)))
    copy, random_graph = metrics.CopyLastFrame(), metrics.RandomGraph()
    copy.update_state(batch)
    random_graph.update_state(batch)
    assert float(copy.result()) == pytest.approx(2811, abs=1)
    assert float(random_graph.result()) == pytest.approx(0.2)
