"""Prints the measured memory of updates by the estimated one, for `test_nes_memory`."""

import os
import pathlib
import threading

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

import tfnes
from tfnes.estimators.nes.memory import peak_bytes

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)


def megabytes():
    """Returns the memory of this process that belongs to no file."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    kept = [line.split() for line in lines if line.startswith(("RssAnon", "VmSwap"))]
    return sum(int(words[1]) for words in kept) / 1e3


def peak_during(function):
    """Returns by how much the memory grew while a function ran."""
    before = most = megabytes()
    done = threading.Event()

    def watch():
        nonlocal most
        while not done.wait(0.001):
            most = max(most, megabytes())

    thread = threading.Thread(target=watch)
    thread.start()
    function()
    done.set()
    thread.join()
    return most - before


def ratio(*, hidden_units, batch_size, **settings):
    pixels = np.random.default_rng(0).random((batch_size, 784)) < 0.3
    batch = {"image": tf.constant(pixels, tf.float32)}
    model = tfnes.models.MLP(hidden_units=hidden_units)
    model.compile(
        keras.optimizers.SGD(), tfnes.estimators.NES(population_size=4, **settings)
    )
    model.build(batch)
    update = tf.function(model.train_step, autograph=False)
    graph = update.get_concrete_function(batch).graph
    estimated, complete = peak_bytes(graph, graph.outputs, batch_size=None)
    assert complete
    measured = peak_during(lambda: update(batch))
    print(f"{estimated / 1e6:.0f} MB estimated, {measured:.0f} MB measured,", end=" ")
    print(f"{measured / (estimated / 1e6):.2f}", flush=True)


# Parameters, activations, and activations of several evaluations at once.
ratio(hidden_units=5000, batch_size=16)
ratio(hidden_units=300, batch_size=20_000)
ratio(hidden_units=300, batch_size=4_000, noise="activations", granularity="example")
