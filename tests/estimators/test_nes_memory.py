"""The memory of an update is known before it runs."""

import logging
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfnes
from tfnes.errors import ConfigurationError
from tfnes.estimators.nes import memory

SCRIPT = pathlib.Path(__file__).parent / "nes_memory.py"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_is_within_a_factor_of_two_of_what_is_measured():
    # In a process of its own, that gives back what it frees: otherwise memory would be
    # taken again that others had before, and not be seen.
    out = subprocess.run(
        [sys.executable, str(SCRIPT)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},
    ).stdout
    ratios = [float(line.split()[-1]) for line in out.splitlines()]
    assert len(ratios) == 3
    factor = memory.FACTOR
    assert all(1 / factor < ratio < factor for ratio in ratios), out


def compiled(hidden_units=8):
    model = tfnes.models.MLP(hidden_units=hidden_units, input_size=784)
    model.compile(keras.optimizers.Adam(), tfnes.estimators.NES(population_size=4))
    return model


def test_what_cannot_fit_is_refused_before_it_runs(monkeypatch, caplog):
    model = compiled(hidden_units=100)
    data = tf.data.Dataset.from_tensors({"image": tf.ones([500, 784])})
    # 784 * 200 numbers, six times, and activations.
    monkeypatch.setattr(memory, "available_bytes", lambda: 10**6)
    with pytest.raises(ConfigurationError, match=r"GB of memory .*smaller batches"):
        model.fit(data, shuffle=False, verbose=0)
    assert model.step == 0
    monkeypatch.setattr(memory, "available_bytes", lambda: 3 * 10**6)
    model.fit(data, shuffle=False, verbose=0)
    assert model.step == 1
    assert "Use smaller batches" in caplog.text


def graph_of(model, size):
    """Returns the graph of an update with a batch of `size`."""
    spec = {"image": tf.TensorSpec([size, 784])}
    update = tf.function(model.train_step, autograph=False)
    return update.get_concrete_function(spec).graph


def test_batch_size_is_that_of_the_data(caplog):
    model = compiled()
    data = tf.data.Dataset.from_tensor_slices({"image": np.zeros([96, 784], "float32")})
    with caplog.at_level(logging.INFO):
        model.fit(data.batch(48).prefetch(1), shuffle=False, verbose=0)
    assert model.batch_size == 48
    assert "4 evaluations an update, which holds about" in caplog.text

    def bytes_of(size, batch_size):
        graph = graph_of(model, size)
        return memory.peak_bytes(graph, graph.outputs, batch_size=batch_size)

    few, many, exact = bytes_of(None, 2000), bytes_of(None, 8000), bytes_of(8000, None)
    assert many == exact
    assert many[1]
    assert many[0] > 2 * few[0]
    assert not bytes_of(None, None)[1]


def test_holds_what_is_read_later_and_one_turn_of_a_loop():
    @tf.function(autograph=False)
    def function(x):
        a = tf.matmul(x, x)
        b = tf.matmul(a, x)
        c = tf.matmul(a, b)  # a, b and c at once
        return tf.while_loop(
            lambda i, _: i < 1000,
            lambda i, y: (i + 1, tf.matmul(y, x)),
            (0, tf.exp(c)),  # in place of c
        )[1]

    graph = function.get_concrete_function(tf.TensorSpec([100, 100])).graph
    found, complete = memory.peak_bytes(graph, graph.outputs, batch_size=None)
    assert complete
    assert found == pytest.approx(3 * 40_000, abs=200)


def test_available_memory_is_less_than_all():
    left = memory.available_bytes()
    assert left is None or 0 < left < 1 << 50
