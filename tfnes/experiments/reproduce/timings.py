"""Times of one update against the size of the latent space, on random data."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfnes import datasets, estimators, models, solvers, structures

NUM_TIMESTEPS = 10
VOCABULARY_SIZE = 10_000
VECTOR_SIZE = 300
_LONGEST_SECONDS = 60.0


class SpanningTreeByChain(structures.SpanningTree):
    """Spanning trees whose samples are the states of a Markov chain."""

    def sample(self, log_potentials, *, num_samples, seed, lengths=None):
        return solvers.spanning_tree_chain(
            log_potentials, num_samples=num_samples, seed=seed, lengths=lengths
        )


def _nes(population_size: int):
    return estimators.NES(population_size=population_size, sigma=0.01)


def _fast_nes():
    return estimators.NES(
        population_size=4, sigma=0.01, noise="activations", granularity="example"
    )


NRI_METHODS: dict[str, tuple[type, Callable[[], Any]]] = {
    "nes": (structures.SpanningTree, lambda: _nes(4)),
    "sst": (
        structures.SpanningTree,
        lambda: estimators.StochasticSoftmax(temperature=1.0),
    ),
    "fast_nes": (structures.SpanningTree, _fast_nes),
    "mcmc": (
        SpanningTreeByChain,
        lambda: estimators.REINFORCE(density="structure"),
    ),
}
"""Structure and estimator by name; `mcmc` weights z - E z by the loss (Eq. 1)."""

PARSER_METHODS: dict[str, tuple[bool, Callable[[], Any]]] = {
    "nes_eisner": (True, lambda: _nes(4)),
    "fast_nes_eisner": (True, _fast_nes),
    "dpp": (True, estimators.PerturbAndParse),
    "nes_cle": (False, lambda: _nes(4)),
    "fast_nes_cle": (False, _fast_nes),
    "sparsemap": (False, lambda: estimators.SparseMAP(max_iterations=10)),
}
"""Whether trees are projective, and the estimator, by name."""


def time_update(
    method: str,
    *,
    size: int,
    batch_size: int,
    repetitions: int,
    hidden_units: int = 256,
) -> dict[str, Any]:
    """Returns the seconds of updates of a method on random data of its paper's form.

    An update is the forward pass, the gradient estimate and the step of Adam. The
    first one traces and compiles and is not counted; each of the others has data of
    its own. Where they take long there are fewer, at least one. `wall` holds seconds,
    `processor` those that the process was running, all threads added up, which other
    programs on the machine disturb less.

    Args:
      method: a key of `NRI_METHODS` or `PARSER_METHODS`.
      size: n, vertices or words.
      batch_size: graphs or sentences.
      repetitions: updates that are timed.
      hidden_units: width of NRI.
    """
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(size)
    if method in NRI_METHODS:
        structure, estimator = NRI_METHODS[method]
        model = models.NRI(structure(), hidden_units=hidden_units)
        batches = _trajectories(rng, size, batch_size)
    else:
        projective, estimator = PARSER_METHODS[method]
        vocabulary = _vocabulary(rng)
        model = models.Parser(
            structures.DependencyTree(projective=projective), vocabulary=vocabulary
        )
        batches = _sentences(rng, vocabulary, size, batch_size)
    model.compile(keras.optimizers.Adam(1e-3), estimator())
    first = next(batches)
    model.build(first)
    model.optimizer.build(model.optimized_variables)
    update = tf.function(model.train_step, autograph=False)
    start = time.perf_counter()
    _run(update, first)
    first_seconds = time.perf_counter() - start
    seconds: list[float] = []
    processor: list[float] = []
    while len(seconds) < repetitions and sum(seconds) < _LONGEST_SECONDS:
        batch = next(batches)
        start, used = time.perf_counter(), time.process_time()
        _run(update, batch)
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "wall": seconds,
        "processor": processor,
        "first": first_seconds,
        # Kilobytes, but bytes on macOS.
        "peak_gib": peak / 2 ** (30 if sys.platform == "darwin" else 20),
        "threads": os.environ.get("TF_NUM_INTRAOP_THREADS"),
    }


def time_configuration(
    gin_files: Sequence[str], bindings: Sequence[str], *, repetitions: int
) -> dict[str, float]:
    """Returns the seconds of an update of the first phase of a configuration.

    `best` and `median` are seconds of the clock, `processor` is the median of those
    that the process was running, which other programs on the machine disturb less.

    Args:
      gin_files: as of `bin/train`.
      bindings: the same.
      repetitions: updates that are timed, after one that compiles.
    """
    from tfnes.experiments import catalog, configuration

    catalog.register_all()
    configuration.parse(gin_files, bindings)
    model, data, phases = map(
        configuration.make_train_argument, ("model", "dataset", "phases")
    )
    phase = phases[0]
    model.adapt(data)
    batch = next(iter(data.get_dataset(phase.split, **phase.dataset_arguments())))
    model.compile(phase.optimizer, phase.estimator)
    model.build(batch)
    model.optimizer.build(model.optimized_variables)
    update = tf.function(model.train_step, autograph=False)
    _run(update, batch)
    seconds, processor = [], []
    for _ in range(repetitions):
        start, used = time.perf_counter(), time.process_time()
        _run(update, batch)
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    return {
        "best": min(seconds),
        "median": float(np.median(seconds)),
        "processor": float(np.median(processor)),
    }


def _run(update, batch) -> None:
    logs = update(batch)
    float(logs["neg_elbo"])


def _trajectories(rng, size: int, batch_size: int):
    shape = (batch_size, NUM_TIMESTEPS, size, 2)
    while True:
        yield {"positions": tf.constant(rng.standard_normal(shape, np.float32))}


def _vocabulary(rng) -> datasets.Vocabulary:
    words = [f"w{i}" for i in range(VOCABULARY_SIZE)]
    tree = {"heads": (0, *[1] * (len(words) - 1)), "relations": ("root",) * len(words)}
    sentence = datasets.Sentence(tuple(words), ("X",) * len(words), **tree)
    vectors = rng.standard_normal((VOCABULARY_SIZE + 3, VECTOR_SIZE), np.float32)
    return datasets.Vocabulary.build([sentence]).with_vectors(words, vectors)


def _sentences(rng, vocabulary, size: int, batch_size: int):
    while True:
        numbers = rng.integers(VOCABULARY_SIZE, size=(batch_size, size))
        sentences = [
            datasets.Sentence(tuple(f"w{i}" for i in row), ("X",) * size)
            for row in numbers
        ]
        provider = datasets.SentenceProvider(
            sentences={"text": sentences}, vocabulary=vocabulary
        )
        yield next(iter(provider.get_dataset("text", batch_size=batch_size)))
