"""Prints the measured memory of updates by the estimated one, for `test_nes_memory`."""

import os
import pathlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

import tfnes
from tfnes.estimators.nes.memory import peak_bytes

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)


def megabytes(name):
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1e3
    raise KeyError(name)


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
    estimated, complete = peak_bytes(graph, batch_size=None)
    assert complete
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = megabytes("VmRSS")
    update(batch)
    measured = megabytes("VmHWM") - before
    print(f"{estimated / 1e6:.0f} MB estimated, {measured:.0f} MB measured,", end=" ")
    print(f"{measured / (estimated / 1e6):.2f}", flush=True)


# Parameters, activations, and activations of several evaluations at once.
ratio(hidden_units=6000, batch_size=16)
ratio(hidden_units=600, batch_size=40_000)
ratio(hidden_units=300, batch_size=4_000, noise="activations", granularity="example")
