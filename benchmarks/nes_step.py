"""Times an NES update against as many plain forward passes, and its memory.

    python benchmarks/nes_step.py                 # the VAE of Appendix B, N = 300
    python benchmarks/nes_step.py --model=nri_64 --population_size=60
    python benchmarks/nes_step.py --model=parser --population_size=60
    python benchmarks/nes_step.py --memory        # peak memory, N = 60 and N = 600
    python benchmarks/nes_step.py --noise         # normal numbers a second
    python benchmarks/nes_step.py --fast --population_size=8   # the fast forms

One core, all variants in turn in one process, best of several rounds. The forward pass
is a `tf.function` of the same model on the same batch with the latent noise already
drawn, so it does nothing that a member of the population does not do. `mlp_per_image`
evaluates the decoder once for each image, as the authors do, not once for each of the
ten codes. NRI has 10 vertices and spanning trees; the parser has projective trees, a
frozen decoder, and sentences of the demo treebank.
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


class PerImage(tfnes.models.MLP):
    """The same model with one evaluation of the decoder for each image."""

    def hard_log_likelihood(self, batch, latent, *, training=False):
        return self.log_likelihood(batch, latent, training=training)


def make_nri(width, size):
    data = tfnes.datasets.GraphLayout(num_vertices=10, num_train=size)
    batch = next(iter(data.get_dataset("train", batch_size=size)))
    structure = tfnes.structures.SpanningTree()
    return lambda: tfnes.models.NRI(structure, hidden_units=width), batch


def make_parser(size):
    treebank = tfnes.datasets.DemoTreebank()
    batch = next(iter(treebank.get_dataset("target_train", batch_size=size)))

    def make():
        structure = tfnes.structures.DependencyTree(projective=True)
        model = tfnes.models.Parser(structure, decoder_trainable=False)
        model.adapt(treebank)
        return model

    return make, batch


def make_images(size):
    pixels = np.random.default_rng(0).random((size, 784)) < 0.3
    return {"image": tf.constant(pixels, tf.float32)}


MODELS = {
    "mlp": lambda size: (tfnes.models.MLP, make_images(size)),
    "mlp_per_image": lambda size: (PerImage, make_images(size)),
    "nri_64": lambda size: make_nri(64, size),
    "nri_256": lambda size: make_nri(256, size),
    "parser": make_parser,
}


def make_step(make, batch, *, population_size, noise):
    model = make()
    nes = tfnes.estimators.NES
    if noise == "by example":
        estimator = nes(
            population_size=population_size,
            sigma=0.1,
            noise="activations",
            granularity="example",
        )
    elif noise == "log-potentials":
        encoder = nes(
            population_size=population_size,
            sigma=1.0,
            noise="log_potentials",
            granularity="example",
        )
        estimator = tfnes.estimators.HybridNES(encoder=encoder)
    else:
        estimator = nes(population_size=population_size, sigma=0.1, noise_source=noise)
    model.compile(keras.optimizers.Adam(1e-3), estimator)
    model.build(batch)
    model.optimizer.build(model.optimized_variables)
    step = tf.function(model.train_step, autograph=False)
    return lambda: next(iter(step(batch).values())).numpy()


def make_forward(make, batch, *, population_size):
    model = make()
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
    parser.add_argument("--model", choices=MODELS, default="mlp")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--noise", action="store_true")
    parser.add_argument("--peak_of", choices=("fresh", "table"), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.noise:
        print_noise_rates(flags.rounds)
        return
    keras.utils.set_random_seed(0)
    make, batch = MODELS[flags.model](flags.batch_size)
    size = flags.population_size
    if flags.peak_of:
        step = make_step(make, batch, population_size=size, noise=flags.peak_of)
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
                            *(
                                f"--model={flags.model}",
                                f"--batch_size={flags.batch_size}",
                            ),
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
    functions = {"forward": make_forward(make, batch, population_size=size)}
    forms = ["table", "fresh"] + (
        ["by example", "log-potentials"] if flags.fast else []
    )
    for noise in forms:
        functions[noise] = make_step(make, batch, population_size=size, noise=noise)
    best = best_seconds(functions, flags.rounds)
    print(
        f"{flags.model}, N = {size}, batch {flags.batch_size}, best of {flags.rounds}"
    )
    print(f"{size} forward passes {best['forward']:7.3f} s   1.00")
    for noise in forms:
        ratio = best[noise] / best["forward"]
        print(f"update, {noise:14} {best[noise]:7.3f} s   {ratio:.2f}")


if __name__ == "__main__":
    main()
