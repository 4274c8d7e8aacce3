"""Learning curves of the unstructured VAE: the hybrid beside `Exact` and plain NES.

    python benchmarks/hybrid_images.py --images=fashion_mnist --data_dir=DIR \
        --estimator="HybridNES(encoder=NES(population_size=8))" --learning_rate=3e-3

Trains the VAE of Appendix B (batches of 128) and prints the exact negative ELBO of the
test split after ever more updates, with the CPU time that the updates took: one thread,
evaluation and start-up left out. `--estimator` is Python with the names of
`tfnes.estimators` and `keras`.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

import tfnes
from tfnes.metrics import cluster_neg_elbo, mean_image_neg_elbo

MARKS = (1, 2, 3, 4, 5, 6, 7, 8, 9)


def parse():
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("--images", default="fashion_mnist")
    add("--data_dir", default=None)
    add("--estimator", default="Exact()")
    add("--learning_rate", type=float, default=1e-3)
    add("--hidden_units", type=int, default=300)
    add("--batch_size", type=int, default=128)
    add("--updates", type=int, default=20000)
    add("--seconds", type=float, default=600.0, help="stop after so much CPU time")
    add("--below", type=float, default=0.0, help="stop below this negative ELBO")
    add("--seed", type=int, default=0)
    add("--baselines", action="store_true", help="print the trivial solutions, stop")
    return parser.parse_args()


def main():
    flags = parse()
    data = tfnes.datasets.BinarizedImages(name=flags.images, data_dir=flags.data_dir)
    images, test = data.arrays("train")[0], data.arrays("test")[0]
    if flags.baselines:
        print(data.describe())
        clusters = cluster_neg_elbo(images, test, num_clusters=10, seed=flags.seed)
        print(f"mean image {mean_image_neg_elbo(images, test):.1f}")
        print(f"ten clusters {clusters:.1f}")
        return
    names = {name: getattr(tfnes.estimators, name) for name in tfnes.estimators.__all__}
    estimator = eval(flags.estimator, {**names, "keras": keras})
    keras.utils.set_random_seed(flags.seed)
    model = tfnes.models.MLP(hidden_units=flags.hidden_units, seed=flags.seed)
    model.compile(keras.optimizers.Adam(flags.learning_rate), estimator)
    images, test = (tf.constant(each, tf.float32) for each in (images, test))
    size = flags.batch_size
    batch = {"image": images[:size]}
    model.train_on_batch(batch)  # builds and traces
    order = tf.random.Generator.from_seed(flags.seed)

    @tf.function(autograph=False)
    def train(updates):
        def body(i):
            at = order.uniform([size], maxval=len(images), dtype=tf.int32)
            model.train_step({"image": tf.gather(images, at)})
            return i + 1

        tf.while_loop(lambda i: i < updates, body, [0], parallel_iterations=1)

    @tf.function(autograph=False)
    def score():
        return tf.reduce_mean(model.expected_elbo({"image": test}).neg_elbo)

    def seconds_of(function, *args):
        start = time.process_time()
        function(*args)
        return time.process_time() - start

    train(tf.constant(0))
    print(flags.images, flags.estimator, flags.learning_rate, "seed", flags.seed)
    done, seconds, scale = 0, 0.0, 50
    while done < flags.updates and seconds < flags.seconds:
        for mark in MARKS:
            if mark * scale > flags.updates:
                break
            seconds += seconds_of(train, tf.constant(mark * scale - done))
            done = mark * scale
            value = float(score())
            print(f"{done:7d} updates {seconds:8.1f} s {value:8.2f} nats", flush=True)
            if value < flags.below or seconds > flags.seconds:
                return
        else:
            scale *= 10
            continue
        break


if __name__ == "__main__":
    main()
