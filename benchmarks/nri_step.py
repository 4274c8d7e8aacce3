"""Times the NRI model: one evaluation of NES, and one update of the stochastic softmax.

    python benchmarks/nri_step.py --hidden_units=64

One core; batch 128, 10 vertices, 10 timesteps and 3-step prediction unless said
otherwise. `--num_vertices=250 --batch_size=1` is the end of Figure 2. All rows are
timed in turn. For comparison, the public PyTorch code on one core of an AMD EPYC:
0.19 s (width 64) and 0.84 s (width 256) for an evaluation, 0.52 s and 4.6 s for an
update of the stochastic softmax.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import keras
import numpy as np
import tensorflow as tf

from tfnes import random
from tfnes.datasets import GraphLayout
from tfnes.estimators import NES, StochasticSoftmax
from tfnes.models import NRI
from tfnes.structures import SpanningTree


def functions(flags):
    """Returns what to time, by name: functions of the number of the round."""
    data = GraphLayout(num_vertices=flags.num_vertices, num_train=flags.batch_size)
    dataset = data.get_dataset("train", batch_size=flags.batch_size)
    batch = next(iter(dataset))
    model = NRI(
        SpanningTree(),
        hidden_units=flags.hidden_units,
        prediction_steps=flags.prediction_steps,
    )
    model.build(batch)
    softmax = StochasticSoftmax(temperature=1.0)
    evolution = NES(population_size=flags.population_size, sigma=0.01)
    for estimator in (softmax, evolution):
        estimator.build(model)

    def graph(function):
        compiled = tf.function(function, autograph=False)
        return lambda number: compiled(random.make_seed(number))

    def estimate(estimator):
        def one(seed):
            result = estimator.estimate(model, batch, seed=seed)
            # Gradients that nobody reads would not be computed.
            norms = [tf.norm(gradient) for gradient in result.gradients]
            return result.loss, tf.add_n(norms)

        return one

    potentials = model.encode(batch, training=True)
    tree = model.structure.argmax(potentials)
    named = {
        "encoder": lambda seed: model.encode(batch, training=True) + 0 * potentials,
        "sample of the tree": lambda seed: model.structure.perturb_and_map(
            potentials, seed=seed
        ),
        "decoder, hard": lambda seed: model.hard_log_likelihood(
            batch, tree, training=True
        ),
        "decoder, relaxed": lambda seed: model.log_likelihood(
            batch, tree, training=True
        ),
        "evaluation": lambda seed: model.elbo(batch, seed=seed, training=True).neg_elbo,
    }
    if flags.updates:
        named["StochasticSoftmax, an update"] = estimate(softmax)
        named[f"NES, an update / {flags.population_size}"] = estimate(evolution)
    return {name: graph(function) for name, function in named.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden_units", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--num_vertices", type=int, default=10)
    parser.add_argument("--prediction_steps", type=int, default=3)
    parser.add_argument("--population_size", type=int, default=4)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument(
        "--updates", action=argparse.BooleanOptionalAction, default=True
    )
    flags = parser.parse_args()
    keras.utils.set_random_seed(0)
    timed = functions(flags)
    seconds = {name: [] for name in timed}
    for repetition in range(flags.repetitions + 1):
        for name, function in timed.items():
            start = time.perf_counter()
            tf.nest.map_structure(lambda x: x.numpy(), function(repetition))
            if repetition:  # the first call traces
                seconds[name].append(time.perf_counter() - start)
    print(
        f"width {flags.hidden_units}, batch {flags.batch_size}, {flags.num_vertices} "
        f"vertices, {flags.prediction_steps}-step prediction, TensorFlow "
        f"{tf.__version__}; milliseconds: best, median of {flags.repetitions}"
    )
    for name, values in seconds.items():
        share = flags.population_size if name.startswith("NES") else 1
        best, median = 1e3 * min(values) / share, 1e3 * np.median(values) / share
        print(f"{name:<30}{best:9.1f}{median:9.1f}")


if __name__ == "__main__":
    main()
