"""How long forms of NES and their competitors take to a negative ELBO, on images.

    python benchmarks/fast_nes.py --images=mnist --data_dir=DIR --below 230 185 \
        --learning_rates 1e-3 3e-3 1e-2 --seeds 0 1 2 --seconds=120 \
        --estimators "Exact()" "NES(population_size=300, noise_source='table')"

Trains the unstructured VAE of Appendix B with Adam, every estimator with every learning
rate and seed in turn, in one process with one thread. Prints when the exact negative
ELBO of the test images (all ten codes summed out) first was below each value: CPU time
of the updates alone (evaluation and start-up left out), updates, and evaluations of the
model on a batch. It looks after every tenth part more updates, so a time may be a tenth
too long. A run ends below the last value, or after `--seconds`.

`--estimators` are Python with the names of `tfnes.estimators` and `keras`. `--csv`
keeps the curves. `--trivial` prints the trivial solutions first, the mean image and ten
Bernoulli clusters.
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
import setups
import tensorflow as tf

import tfnes
from tfnes.metrics import cluster_neg_elbo, mean_image_neg_elbo


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data_dir")
    add("--images", default="mnist")
    add("--estimators", nargs="*", default=[])
    add("--learning_rates", nargs="+", type=float, default=[1e-3])
    add("--seeds", nargs="+", type=int, default=[0])
    add("--below", nargs="+", type=float, default=[230.0, 185.0])
    add("--seconds", type=float, default=60.0)
    add("--batch_size", type=int, default=128)
    add("--hidden_units", type=int, default=300)
    add("--csv")
    add("--trivial", action="store_true")
    return parser.parse_args()


def make_model(expression, learning_rate, *, seed, hidden_units):
    estimator = setups.estimator_of(expression)
    keras.utils.set_random_seed(seed)
    model = tfnes.models.MLP(seed=seed, hidden_units=hidden_units)
    model.compile(keras.optimizers.Adam(learning_rate), estimator)
    return model


def curve(model, images, test, *, batch_size, seconds):
    """Yields `(updates, seconds, negative ELBO of the test images)`."""
    model.build({"image": images[:batch_size]})
    model.optimizer.build(model.optimized_variables)

    @tf.function(autograph=False)
    def train(count):
        def body(i):
            key = tfnes.random.stream_seed(
                model.seed, model.step, tfnes.random.Stream.DATA_ORDER
            )
            rows = tfnes.random.uniform([batch_size], seed=key)
            rows = tf.cast(rows * len(images), tf.int32)
            model.train_step({"image": tf.gather(images, rows)})
            return i + 1

        tf.while_loop(lambda i: i < count, body, [0], parallel_iterations=1)

    @tf.function(autograph=False)
    def score():
        return tf.reduce_mean(model.expected_elbo({"image": test}).neg_elbo)

    train(tf.constant(0))  # traces
    train(tf.constant(1))  # compiles; this update is not timed
    spent, updates = 0.0, 1
    while spent < seconds:
        more = max(1, updates // 10)
        start = time.process_time()
        train(tf.constant(more))
        spent, updates = spent + time.process_time() - start, updates + more
        yield updates, spent, float(score())


def main():
    flags = parse()
    data = tfnes.datasets.BinarizedImages(name=flags.images, data_dir=flags.data_dir)
    images, test = (data.arrays(s)[0].astype(np.float32) for s in ("train", "test"))
    print(
        f"{flags.images}: {len(images)} images for training, {len(test)} for the test"
    )
    if flags.trivial:
        clusters = cluster_neg_elbo(images, test, num_clusters=10, seed=0)
        mean_image = mean_image_neg_elbo(images, test)
        print(f"mean image {mean_image:.1f}, ten clusters {clusters:.1f}", flush=True)
    images, test = tf.constant(images), tf.constant(test)
    for expression in flags.estimators:
        for rate in flags.learning_rates:
            for seed in flags.seeds:
                model = make_model(
                    expression, rate, seed=seed, hidden_units=flags.hidden_units
                )
                print(f"{expression}, rate {rate:g}, seed {seed}")
                wanted, best = list(flags.below), np.inf
                for point in curve(
                    model,
                    images,
                    test,
                    batch_size=flags.batch_size,
                    seconds=flags.seconds,
                ):
                    updates, seconds, value = point
                    best = min(best, value)
                    evaluations = updates * model.estimator.evaluations_per_step
                    spent = f"{seconds:7.2f} s {updates:6d} updates {evaluations:8d}"
                    while wanted and value < wanted[0]:
                        print(f"  below {wanted.pop(0):g}: {spent} evaluations")
                    if flags.csv:
                        row = [flags.images, expression, rate, seed, *point]
                        with open(flags.csv, "a", newline="") as sink:
                            csv.writer(sink).writerow(row)
                    if not wanted or not np.isfinite(value):
                        break
                print(f"  best {best:.1f}, last {value:.1f}: {spent}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
