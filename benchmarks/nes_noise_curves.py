"""Learning curves of the noise table beside those of fresh normals, over seeds.

    python benchmarks/nes_noise_curves.py --images=fashion_mnist --data_dir=DIR

Trains the VAE of Appendix B (N = 300, sigma 0.1, batches of 128) once for each source
of noise and each seed, all else equal, and prints the exact negative ELBO of the test
split after ever more updates: mean and standard deviation over the seeds, the mean
difference of the two with the same seed, and its standard error.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import keras
import numpy as np
import tensorflow as tf

import tfnes
from tfnes.metrics import cluster_neg_elbo, mean_image_neg_elbo

SOURCES = ("fresh", "table")


def curve(images, test, source, seed, flags):
    """Returns the exact negative ELBO of the test images every `every` updates."""
    keras.utils.set_random_seed(seed)
    model = tfnes.models.MLP(hidden_units=flags.hidden_units, seed=seed)
    model.compile(
        keras.optimizers.Adam(flags.learning_rate),
        tfnes.estimators.NES(
            population_size=flags.population_size, sigma=0.1, noise_source=source
        ),
    )
    model.build({"image": images[:128]})
    model.optimizer.build(model.optimized_variables)
    update = tf.function(model.train_step, autograph=False)

    @tf.function(autograph=False)
    def score():
        return tf.reduce_mean(model.expected_elbo({"image": test}).neg_elbo)

    order = np.random.default_rng(seed)
    scores = []
    for number in range(flags.updates):
        at = order.integers(len(images), size=128)
        update({"image": tf.gather(images, at)})
        if (number + 1) % flags.every == 0:
            scores.append(float(score()))
    shown = " ".join(f"{value:.1f}" for value in scores)
    print(f"{source}, seed {seed}: {shown}", flush=True)
    return scores


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", default="fashion_mnist")
    parser.add_argument("--data_dir")
    parser.add_argument("--hidden_units", type=int, default=300)
    parser.add_argument("--population_size", type=int, default=300)
    parser.add_argument("--learning_rate", type=float, default=1e-2)
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--every", type=int, default=25)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    flags = parser.parse_args()
    data = tfnes.datasets.BinarizedImages(name=flags.images, data_dir=flags.data_dir)
    images, test = data.arrays("train")[0], data.arrays("test")[0]
    print(
        f"{data.describe()}\nmean image {mean_image_neg_elbo(images, test):.1f}, ten "
        f"clusters {cluster_neg_elbo(images, test, num_clusters=10, seed=0):.1f}"
    )
    images, test = (tf.constant(each, tf.float32) for each in (images, test))
    found = {source: [] for source in SOURCES}
    for seed in flags.seeds:
        for source in SOURCES:
            found[source].append(curve(images, test, source, seed, flags))
    fresh, table = (np.array(found[source]) for source in SOURCES)
    print("| updates | fresh | table | table - fresh | standard error |")
    print("|---|---|---|---|---|")
    change = table - fresh
    for i in range(fresh.shape[1]):
        error = change[:, i].std(ddof=1) / np.sqrt(len(change))
        print(
            f"| {(i + 1) * flags.every} | {fresh[:, i].mean():.1f} ± "
            f"{fresh[:, i].std(ddof=1):.1f} | {table[:, i].mean():.1f} ± "
            f"{table[:, i].std(ddof=1):.1f} | {change[:, i].mean():+.1f} | "
            f"{error:.1f} |"
        )


if __name__ == "__main__":
    main()
