"""Times an NES update against as many plain forward passes, and its memory.

    python benchmarks/nes_step.py                 # the VAE of Appendix B, N = 300
    python benchmarks/nes_step.py --memory        # peak memory, N = 60 and N = 600
    python benchmarks/nes_step.py --noise         # normal numbers a second
    python benchmarks/nes_step.py --fast --population_size=8   # noise by example

One core, all variants in turn in one process, best of several rounds. The forward pass
is a `tf.function` of the same model on the same batch with the latent noise already
drawn, so it does nothing that a member of the population does not do. `--per_example`
evaluates the decoder once for each image, as the authors do, not once for each of the
ten codes.
"""

import argparse
import os
import resource
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import keras
import numpy as np
import tensorflow as tf

import tfnes


class PerExample(tfnes.models.MLP):
    """The same model with one evaluation of the decoder for each image."""

    def hard_log_likelihood(self, batch, latent, *, training=False):
        return self.log_likelihood(batch, latent, training=training)


def make_step(kind, batch, *, population_size, noise):
    model = kind()
    nes = tfnes.estimators.NES
    if noise == "by example":
        estimator = nes(
            population_size=population_size,
            sigma=0.1,
            noise="activations",
            granularity="example",
        )
    else:
        estimator = nes(population_size=population_size, sigma=0.1, noise_source=noise)
    model.compile(keras.optimizers.Adam(1e-3), estimator)
    model.build(batch)
    model.optimizer.build(model.optimized_variables)
    step = tf.function(model.train_step, autograph=False)
    return lambda: next(iter(step(batch).values())).numpy()


def make_forward(kind, batch, *, population_size):
    model = kind()
    model.build(batch)
    shared = model.shared_terms(batch, seed=tfnes.random.make_seed(0))
    terms = model.elbo(batch, shared=shared)
    shared = model.share_noise(batch, terms, shared=shared)

    @tf.function(autograph=False)
    def forward(batch):
        terms = model.elbo(batch, shared=shared, training=True)
        return tf.reduce_mean(terms.neg_elbo)

    def run():
        for _ in range(population_size):
            loss = forward(batch)
        return loss.numpy()

    return run


def best_seconds(functions, rounds):
    for function in functions.values():
        function()
    best = dict.fromkeys(functions, np.inf)
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def random_batch(size):
    pixels = np.random.default_rng(0).random((size, 784)) < 0.3
    return {"image": tf.constant(pixels, tf.float32)}


def print_noise_rates(rounds, size=480_000, calls=20):
    seed = tfnes.random.make_seed(0)

    @tf.function(autograph=False)
    def philox(index):
        return tf.random.stateless_normal([size], tf.stack([index, 1]))

    def ours(index):
        return tfnes.random.normal_vector(size, seed=seed, index=index)

    def repeat(draw):
        return lambda: [draw(tf.constant(i)) for i in range(calls)][-1].numpy()

    functions = {"stateless_normal": repeat(philox), "normal_vector": repeat(ours)}
    for name, seconds in best_seconds(functions, rounds).items():
        print(f"{name:17} {size * calls / seconds / 1e6:6.0f} million a second")


def peak_megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--population_size", type=int, default=300)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--per_example", action="store_true")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--noise", action="store_true")
    parser.add_argument("--peak_of", choices=("fresh", "table"), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.noise:
        print_noise_rates(flags.rounds)
        return
    batch = random_batch(flags.batch_size)
    kind = PerExample if flags.per_example else tfnes.models.MLP
    size = flags.population_size
    if flags.peak_of:
        step = make_step(kind, batch, population_size=size, noise=flags.peak_of)
        for _ in range(2):
            step()
        print(peak_megabytes())
        return
    if flags.memory:
        for noise in ("fresh", "table"):
            few, many = (
                float(
                    subprocess.run(
                        [
                            *(sys.executable, __file__, f"--peak_of={noise}"),
                            f"--population_size={count}",
                        ],
                        check=True,
                        capture_output=True,
                        text=True,
                    ).stdout.split()[-1]
                )
                for count in (60, 600)
            )
            growth = 100 * (many / few - 1)
            print(
                f"{noise:6} peak memory: N = 60 {few:.0f} MB, N = 600 {many:.0f} MB, "
                f"growth {growth:.1f} %"
            )
        return
    functions = {"forward": make_forward(kind, batch, population_size=size)}
    forms = ["table", "fresh"] + (["by example"] if flags.fast else [])
    for noise in forms:
        functions[noise] = make_step(kind, batch, population_size=size, noise=noise)
    best = best_seconds(functions, flags.rounds)
    print(
        f"{kind.__name__}, N = {size}, batch {flags.batch_size}, best of {flags.rounds}"
    )
    print(f"{size} forward passes {best['forward']:7.3f} s   1.00")
    for noise in forms:
        ratio = best[noise] / best["forward"]
        print(f"update, {noise:11} {best[noise]:7.3f} s   {ratio:.2f}")


if __name__ == "__main__":
    main()
