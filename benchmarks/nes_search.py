"""Evaluations that NES needs with a sigma that is fixed, scheduled, or learned.

    python benchmarks/nes_search.py

An ellipsoid of 8 parameters with curvatures from 1 to 1,000, along the axes and
rotated, from a corner of the cube [-1, 1]^8 until it is below 1e-4, N = 10. Rows:

    fixed        z-scores, Adam; sigma and learning rate the best of a grid for seed 0
    schedule     the same at that rate, sigma halved ten times on the way to the limit
    SNES, a sigma for each variable, xNES
                 utilities of the papers, SGD with rate 1, default rates, sigma from 0.3

A seed is another start. `-` stands for a run that is not there after `--updates`, with
its last value beside.
"""

import argparse
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import keras
import numpy as np
import tensorflow as tf

import tfnes
from tfnes.estimators import NES

SIGMAS, RATES = (0.3, 0.1, 0.03), (0.3, 0.1, 0.03, 0.01)
CURVATURES = np.logspace(0, 3, 8)


class Vector(keras.Model):
    """A network that is nothing but its parameters."""

    def __init__(self, size):
        super().__init__()
        self.mu = self.add_weight(name="mu", shape=(size,))
        self.built = True

    def call(self, inputs):
        return inputs


def ellipsoid(rotated):
    size = len(CURVATURES)
    axes = np.eye(size)
    if rotated:
        axes = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))[0]
    matrix = tf.constant(axes @ np.diag(CURVATURES) @ axes.T, tf.float32)
    network = Vector(size)

    def value():
        x = tf.convert_to_tensor(network.mu)
        return tf.tensordot(x, tf.linalg.matvec(matrix, x), 1)

    model = tfnes.NESModel(
        network, loss=lambda batch, seed: value() + tf.zeros_like(batch["x"])
    )
    return model, {"x": tf.zeros([2])}, value


class Runs:
    """Runs of one estimator from many starts, in one graph."""

    def __init__(self, make, estimator, optimizer, *, below, limit):
        keras.utils.set_random_seed(0)
        model, batch, value = make()
        model.build(batch)
        model.compile(optimizer, estimator)
        estimator.build_state(model)
        optimizer.build(model.optimized_variables)
        self.model, self.estimator = model, estimator
        state = [*model.variables, *optimizer.variables, *estimator.variables]
        self.start = [(variable, variable.numpy()) for variable in state]

        @tf.function(autograph=False)
        def train():
            def body(i):
                model.train_step(batch)
                return i + 1

            updates = tf.while_loop(
                lambda i: (i < limit) & (value() > below),
                body,
                [0],
                parallel_iterations=1,
            )[0]
            return updates, value()

        self.train = train

    def run(self, seed, rate):
        """Returns evaluations and the last value."""
        for variable, value in self.start:
            variable.assign(value)
        generator = np.random.default_rng(seed)
        for variable in self.model.elbo_variables:
            variable.assign(generator.choice([-1.0, 1.0], variable.shape))
        self.model.optimizer.learning_rate.assign(rate)
        updates, value = self.train()
        return int(updates) * self.estimator.evaluations_per_step, float(value)


def rows(name, make, *, below, limit, population_size, seeds):
    """Prints the rows of one problem."""
    sigma, halved = tf.Variable(0.1), tf.Variable(0.0)
    given = NES(
        population_size=population_size,
        sigma=lambda step: (
            sigma * 2.0 ** (-10 * halved * tf.cast(step, tf.float32) / limit)
        ),
    )
    common = {"below": below, "limit": limit}
    fixed = Runs(make, given, keras.optimizers.Adam(0.1), **common)
    found = {}
    for scale in SIGMAS:
        for rate in RATES:
            sigma.assign(scale)
            found[scale, rate] = fixed.run(seeds[0], rate)
    scale, rate = min(found, key=found.get)
    for label, on in (("fixed", 0.0), ("schedule", 1.0)):
        sigma.assign(scale)
        halved.assign(on)
        show(name, f"{label} {scale:g}, rate {rate:g}", fixed, rate, common, seeds)
    for kind in ("SeparableSigma", "LayerSigma", "FullCovariance"):
        learned = NES(
            population_size=population_size,
            sigma=getattr(tfnes.estimators, kind)(sigma=0.3),
            fitness_shaping="log_ranks",
        )
        runs = Runs(make, learned, keras.optimizers.SGD(1.0), **common)
        show(name, kind, runs, 1.0, common, seeds)


def show(name, label, runs, rate, common, seeds):
    cells = []
    for seed in seeds:
        evaluations, value = runs.run(seed, rate)
        there = value <= common["below"]
        cells.append(f"{evaluations:,}" if there else f"- ({value:.3g})")
    print(f"| {name} | {label} | {', '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=600)
    flags = parser.parse_args()
    print("| problem | sigma | evaluations until there |\n|---|---|---|")
    common = {"limit": flags.updates, "seeds": flags.seeds}
    for rotated in (False, True):
        rows(
            "rotated ellipsoid" if rotated else "ellipsoid",
            lambda rotated=rotated: ellipsoid(rotated),
            below=1e-4,
            population_size=10,
            **common,
        )


if __name__ == "__main__":
    sys.exit(main())
