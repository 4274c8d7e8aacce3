"""The memory of an update is known before it runs."""

import logging
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
    # In a process of its own: memory that others have freed would be taken again.
    out = subprocess.run(
        [sys.executable, str(SCRIPT)], check=True, capture_output=True, text=True
    ).stdout
    ratios = [float(line.split()[-1]) for line in out.splitlines()]
    assert len(ratios) == 3
    assert all(0.5 < ratio < 2 for ratio in ratios), out


def compiled(hidden_units=8):
    model = tfnes.models.MLP(hidden_units=hidden_units, input_size=784)
    model.compile(keras.optimizers.Adam(), tfnes.estimators.NES(population_size=4))
    return model


def test_what_cannot_fit_is_refused_before_it_runs():
    model = compiled()
    spec = {"image": tf.TensorSpec([10**9, 784])}
    model.build(spec)
    with pytest.raises(ConfigurationError, match=r"GB of memory .*smaller batches"):
        tf.function(model.train_step).get_concrete_function(spec)
    assert model.step == 0


def test_batch_size_is_that_of_the_data(caplog):
    model = compiled()
    data = tf.data.Dataset.from_tensor_slices({"image": np.zeros([96, 784], "float32")})
    with caplog.at_level(logging.INFO):
        model.fit(data.batch(48).prefetch(1), verbose=0)
    assert model.batch_size == 48
    assert "4 evaluations an update, which holds about" in caplog.text
    sizes = [
        memory.peak_bytes(graph_of(model, None), batch_size=size)[0]
        for size in (1000, 2000)
    ]
    exact, complete = memory.peak_bytes(graph_of(model, 2000), batch_size=None)
    assert complete
    assert sizes[1] == exact
    assert sizes[1] > 1.8 * sizes[0]
    assert not memory.peak_bytes(graph_of(model, None), batch_size=None)[1]


def graph_of(model, size):
    """Returns the graph of an update with a batch of `size`."""
    spec = {"image": tf.TensorSpec([size, 784])}
    return tf.function(model.train_step).get_concrete_function(spec).graph


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
    found, complete = memory.peak_bytes(graph, batch_size=None)
    assert complete
    assert found == pytest.approx(3 * 40_000, abs=200)


def test_available_memory_is_less_than_all():
    left = memory.available_bytes()
    assert left is None or 0 < left < 1 << 50
