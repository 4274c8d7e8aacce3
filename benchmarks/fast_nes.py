"""Learning curves of NES, in its forms, against back-propagation, on binary images.

    python benchmarks/fast_nes.py --data_dir=DIR --images=mnist \
        --methods exact gumbel_softmax nes_300 fast_4 hybrid_4 \
        --learning_rates 1e-3 3e-3 1e-2 --seeds 0 --seconds 120

One process, one core, one run after the other: the unstructured VAE of Appendix B,
batch 128. Each line is the exact negative ELBO of the test images (all ten categories
summed out) after so many updates, seconds of training alone, and evaluations of the
model on a batch. The trivial solutions stand first: the mean image, and ten Bernoulli
clusters by k-means.
"""

import argparse
import csv
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import keras
import numpy as np
import tensorflow as tf

import tfnes
from tfnes.estimators import NES, Exact, GumbelSoftmax, HybridNES


def make_estimator(method, sigma):
    name, _, size = method.rpartition("_")
    if method == "exact":
        return Exact()
    if method == "gumbel_softmax":
        return GumbelSoftmax(temperature=1.0)
    size = int(size)
    if name == "nes":
        return NES(population_size=size, sigma=sigma, noise_source="table")
    fast = {
        "population_size": size,
        "sigma": sigma,
        "noise": "activations",
        "granularity": "example",
    }
    if name.endswith("loo"):
        fast["baseline"] = "leave_one_out"
    if "sampled" not in name:
        fast["exact_expectation"] = True
    if name.startswith("parts"):
        given = {**fast, "exact_expectation": False}
        return HybridNES(encoder=NES(**fast), decoder=NES(**given))
    if name.startswith("fast"):
        return NES(**fast)
    if name.startswith("hybrid"):
        return HybridNES(encoder=NES(**fast))
    raise SystemExit(f"unknown method {method}")


def exact_neg_elbo(model, images, batch_size=1000):
    @tf.function(autograph=False)
    def mean(image):
        return tf.reduce_mean(model.expected_elbo({"image": image}).neg_elbo)

    parts = [
        mean(tf.constant(images[i : i + batch_size], tf.float32))
        for i in range(0, len(images), batch_size)
    ]
    return float(np.mean(parts))


def train(method, learning_rate, *, flags, train_images, test_images, sigma, seed):
    """Yields `(updates, seconds, evaluations, negative ELBO)`."""
    keras.utils.set_random_seed(seed)
    model = tfnes.models.MLP(seed=seed, hidden_units=flags.hidden_units)
    estimator = make_estimator(method, sigma)
    model.compile(keras.optimizers.Adam(learning_rate), estimator)
    images = tf.constant(train_images, tf.float32)
    batch = {"image": images[: flags.batch_size]}
    model.build(batch)
    model.optimizer.build(model.optimized_variables)
    size = len(train_images)

    @tf.function(autograph=False)
    def run(count):
        def body(i):
            key = tfnes.random.stream_seed(
                seed, model.step, tfnes.random.Stream.DATA_ORDER
            )
            rows = tfnes.random.uniform([flags.batch_size], seed=key)
            rows = tf.cast(rows * size, tf.int32)
            model.train_step({"image": tf.gather(images, rows)})
            return i + 1

        tf.while_loop(lambda i: i < count, body, [0], parallel_iterations=1)
        return model.step.value

    run(tf.constant(1))  # compiles; this update is not timed
    seconds, updates, chunk = 0.0, 1, 1
    while seconds < flags.seconds:
        start = time.perf_counter()
        run(tf.constant(chunk)).numpy()
        spent = time.perf_counter() - start
        seconds, updates = seconds + spent, updates + chunk
        # About forty points, closer at the start.
        pace = seconds / updates
        chunk = max(1, int(max(0.15 * updates, flags.seconds / 40 / pace / 8)))
        chunk = min(chunk, max(1, int(flags.seconds / 25 / pace)))
        evaluations = updates * estimator.evaluations_per_step
        value = exact_neg_elbo(model, test_images)
        yield updates, seconds, evaluations, value
        if not np.isfinite(value) or (flags.stop_below and value < flags.stop_below):
            return


def trivial(train_images, test_images, categories=10, rounds=30):
    def loss(images, means):
        means = np.clip(means, 1e-3, 1 - 1e-3)
        log = images @ (np.log(means) - np.log1p(-means)).T + np.log1p(-means).sum(1)
        # The exact ELBO of a code with a posterior of its own: the marginal itself.
        top = log.max(1, keepdims=True)
        return -(top[:, 0] + np.log(np.exp(log - top).mean(1))).mean(), log

    one, _ = loss(test_images, train_images.mean(0, keepdims=True))
    generator = np.random.default_rng(0)
    means = train_images[generator.choice(len(train_images), categories, False)]
    means = 0.8 * means + 0.1
    for _ in range(rounds):
        _, log = loss(train_images, means)
        best = log.argmax(1)
        means = np.stack(
            [
                train_images[best == k].mean(0) if (best == k).any() else means[k]
                for k in range(categories)
            ]
        )
    return one, loss(test_images, means)[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir")
    parser.add_argument("--images", default="mnist")
    parser.add_argument("--methods", nargs="+", required=True)
    parser.add_argument("--learning_rates", nargs="+", type=float, default=[1e-3])
    parser.add_argument("--sigmas", nargs="+", type=float, default=[0.1])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--stop_below", type=float)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--hidden_units", type=int, default=300)
    parser.add_argument("--csv")
    flags = parser.parse_args()
    data = tfnes.datasets.BinarizedImages(name=flags.images, data_dir=flags.data_dir)
    train_images = data.arrays("train")[0].astype(np.float32)
    test_images = data.arrays("test")[0].astype(np.float32)
    mean_image, clusters = trivial(train_images, test_images)
    print(f"{flags.images}: mean image {mean_image:.1f}, 10 clusters {clusters:.1f}")
    for method in flags.methods:
        for learning_rate in flags.learning_rates:
            for sigma in flags.sigmas:
                for seed in flags.seeds:
                    title = f"{method} lr {learning_rate:g} sigma {sigma:g} seed {seed}"
                    points = train(
                        method,
                        learning_rate,
                        flags=flags,
                        train_images=train_images,
                        test_images=test_images,
                        sigma=sigma,
                        seed=seed,
                    )
                    for point in points:
                        updates, seconds, evaluations, value = point
                        print(
                            f"{title}: {updates:6d} updates {seconds:7.2f} s "
                            f"{evaluations:8d} evaluations  {value:8.2f}",
                            flush=True,
                        )
                        if flags.csv:
                            row = [flags.images, method, learning_rate, sigma, seed]
                            with open(flags.csv, "a", newline="") as sink:
                                csv.writer(sink).writerow([*row, *point])


if __name__ == "__main__":
    sys.exit(main())
