"""Callbacks, called as Keras calls them."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import tfnes
from tfnes import callbacks
from tfnes.callbacks import throughput
from tfnes.datasets import Sentence
from tfnes.testing.small_vae import SmallVAE


@pytest.fixture
def clock(monkeypatch):
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: clock.now)
    return clock


def test_throughput_leaves_out_the_first_update(clock):
    callback = callbacks.Throughput(batch_size=10, num_examples=25)
    callback.on_epoch_begin(0)
    rates = []
    for seconds in (100.0, 2.0, 1.0):
        clock.now += seconds
        logs = {}
        callback.on_train_batch_end(0, logs)
        rates.append(logs["examples/s"])
    # 10 in 100 s, then 10 more in 2 s, then the remaining 5 in 1 s.
    assert rates == pytest.approx([0.1, 5.0, 5.0])
    logs = {}
    callback.on_epoch_end(0, logs)
    assert logs == {"examples/s": pytest.approx(5.0)}


def test_throughput_counts_the_population(clock):
    callback = callbacks.Throughput(batch_size=10)
    callback._model = types.SimpleNamespace(
        estimator=types.SimpleNamespace(evaluations_per_step=300)
    )
    callback.on_epoch_begin(0)
    clock.now = 2.0
    logs = {}
    callback.on_train_batch_end(0, logs)
    assert logs == {"examples/s": 5.0, "evaluations/s": 1500.0}


class Counting(keras.Model):
    """Has updates and nothing to learn."""

    def __init__(self):
        super().__init__()
        self.step = self.add_weight(shape=(), dtype="int64", trainable=False)

    def train_step(self, data):
        self.step.assign_add(1)
        return {"neg_elbo": 2.0}

    def evaluate(self, data, **_):
        return {"uas": float(data), "kl": 0.0, "log_likelihood": -1.0, "neg_elbo": 1.0}


def test_scalars_and_evaluation_in_fit(tmp_path):
    model = Counting()
    model.compile(run_eagerly=True)
    model.fit(
        tf.data.Dataset.range(4),
        epochs=2,
        verbose=0,
        callbacks=[
            callbacks.SplitEvaluation(["dev"], get_dataset=lambda split: 0.5),
            callbacks.Scalars(tmp_path, prefix="adapt", every=2),
        ],
    )
    logs = {}
    for kind in ("train", "validation"):
        events = EventAccumulator(str(tmp_path / kind)).Reload()
        for tag in events.Tags()["tensors"]:
            logs[tag] = [
                (event.step, float(tf.make_ndarray(event.tensor_proto)))
                for event in events.Tensors(tag)
            ]
    assert logs == {
        "adapt/updates/neg_elbo": [(2, 2.0), (4, 2.0), (6, 2.0), (8, 2.0)],
        "adapt/neg_elbo": [(4, 2.0), (8, 2.0)],
        "dev/uas": [(4, 0.5), (8, 0.5)],
        "dev/neg_elbo": [(4, 1.0), (8, 1.0)],
    }


def test_a_kl_term_is_shown():
    logs = callbacks.split_evaluation.split_logs("dev", {"neg_elbo": 3.0, "kl": 1.0})
    assert logs == {"dev/neg_elbo": 3.0, "dev/kl": 1.0}


def test_pictures_of_predicted_trees(tmp_path):
    cat = Sentence(("a", "cat"), ("DET", "NOUN"), (2, 0), ("det", "root"))
    writer = tf.summary.create_file_writer(str(tmp_path))
    asked = []

    def predict(sentences):
        asked.append(list(sentences))
        return [[0, 1]] * len(sentences), [["root", "det"]] * len(sentences)

    callback = callbacks.TreePictures([cat, cat], predict=predict, writer=writer)
    callback.set_model(Counting())
    callback.on_epoch_end(0)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Tags()["tensors"] == ["trees/1", "trees/2"]
    width, height, png = tf.make_ndarray(events.Tensors("trees/1")[0].tensor_proto)
    image = tf.io.decode_png(png).numpy()
    assert image.shape == (int(height), int(width), 3)
    assert np.ptp(image) > 100
    assert asked == [[cat, cat]]
    assert callback.as_text() == "\n".join(
        ["a (root)   ✗ gold head: cat", "└─ cat (det)   ✗ gold head: the root"]
    )


def read_histogram(events, tag, step=0):
    """Returns the counts of the buckets, and the smallest and largest value."""
    buckets = tf.make_ndarray(events.Tensors(tag)[step].tensor_proto)
    return buckets[:, 2], buckets[0, 0], buckets[-1, 1]


@pytest.mark.parametrize("granularity", ["member", "example"])
def test_histogram_of_fitness_changes_nothing(tmp_path, granularity):
    model = tfnes.models.MLP(hidden_units=4, input_size=5)
    noise = "weights" if granularity == "member" else "activations"
    estimator = tfnes.estimators.NES(
        population_size=10, sigma=0.1, noise=noise, granularity=granularity
    )
    model.compile(keras.optimizers.SGD(0.1), estimator)
    batch = {"image": tf.eye(3, 5), "index": tf.range(3)}
    model.build(batch)
    writer = tf.summary.create_file_writer(str(tmp_path))
    callback = callbacks.Distributions(batch, writer=writer, name="dev", num_members=8)
    callback.set_model(model)
    before = [variable.numpy() for variable in model.variables]
    callback.on_epoch_end(0)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["tensors"]) == {"dev/fitness", "dev/log_potentials"}
    h = model.encode(batch).numpy()
    counts, low, high = read_histogram(events, "dev/log_potentials")
    assert (counts.sum(), low, high) == pytest.approx((h.size, h.min(), h.max()))
    counts, low, high = read_histogram(events, "dev/fitness")
    assert counts.sum() == (8 if granularity == "member" else 24)
    assert low < high
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_histogram_of_log_potentials_leaves_padding_out(tmp_path):
    tree = tfnes.structures.DependencyTree()
    model = SmallVAE(tree, tree.enumerate(2), kl="none", seed=0)
    model.compile(keras.optimizers.SGD(0.1), tfnes.estimators.Exact())
    batch = {**model.batch(2), "lengths": tf.constant([1, 2])}
    writer = tf.summary.create_file_writer(str(tmp_path))
    callback = callbacks.Distributions(batch, writer=writer)
    callback.set_model(model)
    callback.on_epoch_end(0)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Tags()["tensors"] == ["distributions/log_potentials"]
    # One arc from the root to one word; four among the root and two words.
    assert read_histogram(events, "distributions/log_potentials")[0].sum() == 5


def test_pictures_of_predicted_graphs(tmp_path):
    writer = tf.summary.create_file_writer(str(tmp_path))
    edges = tf.constant([[1.0, 1, 0], [0, 1, 1]])
    callback = callbacks.GraphPictures({"edges": edges}, writer=writer)
    model = Counting()
    model.predict_batch = lambda batch: {"latent": tf.ones_like(batch["edges"])}
    callback.set_model(model)
    callback.on_epoch_end(0)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Tags()["tensors"] == ["graphs/1", "graphs/2"]
