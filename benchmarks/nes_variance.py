"""Variance of one NES estimate by where the noise acts, for each kind of layer.

    python benchmarks/nes_variance.py              # variance ratios
    python benchmarks/nes_variance.py --bias       # bias of the two baselines

Small Keras networks with a quadratic loss of each example, batch 32, N = 8, no
standardization. The variance is the trace of the covariance of the gradient, over many
updates; the table shows that of noise on the weights divided by it (larger is better).
`--bias` compares the mean gradient of a two-layer network with that of noise on the
weights, at a large sigma: in a deeper layer the pair's mean as baseline is biased.
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

layers = keras.layers
BATCH = 32
FORMS = {
    "activations, member": {"noise": "activations"},
    "low rank 1, member": {"noise": "low_rank"},
    "low rank 1, example": {"noise": "low_rank", "granularity": "example"},
    "activations, example": {"noise": "activations", "granularity": "example"},
}
KINDS = {
    "Dense, 1 position": (lambda: layers.Dense(16), (64,)),
    "Dense, 4 positions": (lambda: layers.Dense(16), (4, 64)),
    "Dense, 16 positions": (lambda: layers.Dense(16), (16, 64)),
    "EinsumDense": (
        lambda: layers.EinsumDense("abc,cd->abd", (None, 16), bias_axes="d"),
        (4, 64),
    ),
    "Embedding": (lambda: layers.Embedding(50, 16), None),
    "Conv2D": (lambda: layers.Conv2D(8, 3), (8, 8, 3)),
    "LayerNormalization": (lambda: layers.LayerNormalization(), (16,)),
    "LSTM": (lambda: layers.LSTM(8, return_sequences=True), (6, 8)),
    "GRU": (lambda: layers.GRU(8, return_sequences=True), (6, 8)),
}


def make_model(stack, inputs):
    network = keras.Sequential(stack)
    network.build(inputs.shape)
    target = np.random.default_rng(1).normal(size=network(inputs).shape)
    target = tf.constant(target, tf.float32)

    def loss(batch, seed):
        error = tf.square(network(batch["x"], training=True) - target)
        return tf.reduce_sum(error, list(range(1, error.shape.rank)))

    return tfnes.NESModel(network, loss=loss), {"x": tf.constant(inputs)}


def moments(model, batch, updates, **settings):
    """Returns the mean gradient and the variance of each coordinate."""
    nes = NES(population_size=8, fitness_shaping="identity", **settings)
    nes.build(model)
    mean, variance = tfnes.testing.update_moments(
        nes, model, batch, num_updates=updates
    )
    return mean[1:], variance[1:]


def print_ratios(updates):
    print("| layer | " + " | ".join(FORMS) + " |")
    print("|---|" + "---|" * len(FORMS))
    for kind, (build, shape) in KINDS.items():
        generator = np.random.default_rng(0)
        if shape is None:
            inputs = generator.integers(0, 50, (BATCH, 6))
        else:
            inputs = generator.normal(size=(BATCH, *shape)).astype(np.float32)
        keras.utils.set_random_seed(0)
        model, batch = make_model([build()], inputs)
        _, plain = moments(model, batch, updates, sigma=0.01)
        cells = []
        for settings in FORMS.values():
            _, variance = moments(model, batch, updates, sigma=0.01, **settings)
            cells.append(f"{plain.sum() / variance.sum():.1f}")
        print(f"| {kind} | " + " | ".join(cells) + " |", flush=True)


def print_bias(updates):
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(BATCH, 8)).astype(np.float32)
    print("| sigma | layer | pair mean | leave one out | noise of the figures |")
    print("|---|---|---|---|---|")
    for sigma in (0.1, 0.2, 0.4):
        keras.utils.set_random_seed(0)
        stack = [layers.Dense(8, activation="tanh"), layers.Dense(8)]
        model, batch = make_model(stack, inputs)
        reference, variance = moments(model, batch, 20 * updates, sigma=sigma)
        first = 9 * 8
        found, noise = {}, np.sqrt(variance / (20 * updates))
        for baseline in ("pair_mean", "leave_one_out"):
            mean, spread = moments(
                model,
                batch,
                10 * updates,
                sigma=sigma,
                noise="activations",
                granularity="example",
                baseline=baseline,
            )
            found[baseline] = mean
        noise = np.sqrt(noise**2 + spread / (10 * updates))
        for name, part in (("first", slice(first)), ("second", slice(first, None))):
            norm = np.linalg.norm(reference[part])
            cells = [
                np.linalg.norm((mean - reference)[part]) / norm
                for mean in found.values()
            ]
            cells.append(np.linalg.norm(noise[part]) / norm)
            row = " | ".join(f"{cell:.4f}" for cell in cells)
            print(f"| {sigma} | {name} | {row} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--bias", action="store_true")
    flags = parser.parse_args()
    if flags.bias:
        print_bias(flags.updates)
    else:
        print_ratios(flags.updates)


if __name__ == "__main__":
    sys.exit(main())
