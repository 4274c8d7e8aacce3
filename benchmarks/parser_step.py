"""Times the parser: one evaluation of NES, one NES update, one supervised epoch.

    python benchmarks/parser_step.py --data_dir=DIR --vectors=id.100.vec

One core, 128 full-length sentences of the target training text, among them its longest;
projective trees unless said otherwise, frozen decoder. `--population_size=400` is an
update of the paper's size; per evaluation a small population costs the same. The public
PyTorch code takes, on one core of the machine that the project is developed on and for
128 sentences of Indonesian GSD, 3.2 s (projective) and 2.0 s (non-projective) for an
evaluation, and 68 s for a supervised epoch on CSUI's 558 training sentences.
"""

import argparse
import os
import resource
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
# tf.data needs a thread beside the one that runs the step.
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "2")

import keras
import numpy as np
import setups
import tensorflow as tf

from tfnes import random
from tfnes.estimators import NES
from tfnes.estimators.supervised import Supervised


def longest_batch(data, batch_size):
    """Returns the batch with the longest sentence of the target training text."""
    batches = data.get_dataset(
        "target_train", batch_size=batch_size, batching="random", shuffle=True
    )
    return max(batches, key=lambda batch: int(batch["lengths"][0]))


def best(name, function, repetitions, *, share=1):
    """Calls once to compile, then `repetitions` times; prints best and median."""
    start = time.perf_counter()
    function(0)
    first = time.perf_counter() - start
    seconds = []
    for repetition in range(1, repetitions + 1):
        start = time.perf_counter()
        function(repetition)
        seconds.append((time.perf_counter() - start) / share)
    print(
        f"{name:<34}{1e3 * min(seconds):10.1f}{1e3 * np.median(seconds):10.1f}"
        f"{first:10.1f}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--vectors", required=True)
    parser.add_argument("--source", default="UD_Indonesian-CSUI")
    parser.add_argument("--target", default="UD_Indonesian-GSD")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--population_size", type=int, default=8)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--supervised_batch_size", type=int, default=3)
    for name in ("projective", "supervised"):
        parser.add_argument(
            f"--{name}", action=argparse.BooleanOptionalAction, default=True
        )
    flags = parser.parse_args()
    keras.utils.set_random_seed(0)
    data, model = setups.treebank_parser(
        flags, max_length=None, projective=flags.projective
    )
    model.adapt(data)
    batch = longest_batch(data, flags.batch_size)
    lengths = batch["lengths"].numpy()
    print(
        f"{len(lengths)} sentences, mean {lengths.mean():.1f} words, longest "
        f"{lengths.max()}; {len(data.vocabulary.words):,} words, "
        f"{len(data.vocabulary.external_words or ()):,} with a vector; TensorFlow "
        f"{tf.__version__}\n{'milliseconds':<34}{'best':>10}{'median':>10}"
        f"{'first, s':>10}"
    )
    if flags.supervised:
        model.compile(keras.optimizers.Adam(1e-3), Supervised(weights="lengths"))
        model.fit(  # traces once for all epochs
            data.get_dataset("source_train", batch_size=flags.supervised_batch_size),
            verbose=0,
        )

        def epoch(number):
            batches = data.get_dataset(
                "source_train",
                batch_size=flags.supervised_batch_size,
                shuffle=True,
                epoch=number,
            )
            model.fit(batches, verbose=0, shuffle=False)

        best("supervised epoch", epoch, min(flags.repetitions, 3))
    model.decoder_trainable = False
    shared = model.shared_terms(batch, seed=random.make_seed(0))
    evaluate = tf.function(
        lambda: tf.reduce_mean(model.elbo(batch, shared=shared).neg_elbo)
    )
    best("evaluation", lambda _: evaluate().numpy(), flags.repetitions)
    model.compile(
        keras.optimizers.Adam(1e-3),
        NES(population_size=flags.population_size, sigma=0.1),
    )
    update = tf.function(model.train_step)
    best(
        f"NES update / {flags.population_size}",
        lambda _: tf.nest.map_structure(np.asarray, update(batch)),
        flags.repetitions,
        share=flags.population_size,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of the process {peak:.1f} GiB")


if __name__ == "__main__":
    main()
