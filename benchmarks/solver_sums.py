"""The parts of `benchmarks/solvers.py` that have no peer: sums, samples, relaxations.

Every part prints, for each size, microseconds an example; all are called in a graph,
one batch a call.
"""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf

from tfnes import random, solvers, structures


def _edges(nodes, batch):
    shape = [batch, nodes * (nodes - 1) // 2]
    return np.random.default_rng(nodes).normal(size=shape)


def _arcs(nodes, batch):
    return np.random.default_rng(nodes).normal(size=[batch, nodes + 1, nodes + 1])


def _with_gradient(function):
    """Returns the gradient of the sum of squares of `function`."""

    def gradient(scores):
        with tf.GradientTape() as tape:
            tape.watch(scores)
            total = tf.reduce_sum(tf.square(function(scores)))
        return tape.gradient(total, scores)

    return gradient


def _exact_trees(scores):
    seed = random.make_seed(0)
    return solvers.sample_spanning_trees(scores, num_samples=1, seed=seed)


def _chain_trees(scores):
    return solvers.spanning_tree_chain(scores, seed=random.make_seed(0))


def _projective_samples(scores):
    seed = random.make_seed(0)
    return solvers.sample_projective(scores, num_samples=1, seed=seed)


def _sparsemap(scores):
    return solvers.sparsemap(scores, argmax=solvers.maximum_spanning_tree)


def _sparsemap_trees(scores, *, projective):
    structure = structures.DependencyTree(projective=projective)
    return solvers.sparsemap(
        scores, argmax=structure.argmax, parts_rank=2, max_iterations=10
    )


_nonprojective = functools.partial(_sparsemap_trees, projective=False)
_projective = functools.partial(_sparsemap_trees, projective=True)


def _part(make_scores, functions):
    """Returns a part that times `functions` of scores, by name."""

    def part(sizes, median_times, turns, *, seconds):
        rows = []
        for nodes, batch in sizes:
            if batch > 128:
                continue
            scores = tf.constant(make_scores(nodes, batch), tf.float32)
            calls = {}
            for name, function in functions.items():
                graph = tf.function(
                    functools.partial(function, scores), autograph=False
                )
                calls[name] = turns(lambda graph=graph: graph()[0].numpy())
            times = median_times(calls, seconds=seconds)
            times = {name: 1e6 * value / batch for name, value in times.items()}
            shown = "  ".join(f"{name} {value:.1f}" for name, value in times.items())
            print(f"n {nodes:3d}  B {batch}  {shown}", flush=True)
            rows.append({"n": nodes, "batch": batch, **times})
        return rows

    return part


PARTS = {
    "spanning_tree_sums": _part(
        _edges,
        {
            "log partition": solvers.spanning_tree_log_partition,
            "marginals": solvers.spanning_tree_marginals,
            "with gradient": _with_gradient(solvers.spanning_tree_marginals),
            "marginals, scores x 100": lambda x: solvers.spanning_tree_marginals(
                100.0 * x
            ),
        },
    ),
    "spanning_tree_samples": _part(
        _edges, {"exact": _exact_trees, "Markov chain": _chain_trees}
    ),
    "projective_sums": _part(
        _arcs,
        {
            "log partition": solvers.projective_log_partition,
            "marginals": solvers.projective_marginals,
            "exact sample": _projective_samples,
        },
    ),
    "eisner_surrogate": _part(
        _arcs,
        {
            "forward": solvers.eisner_surrogate,
            "with gradient": _with_gradient(solvers.eisner_surrogate),
        },
    ),
    "sparsemap": _part(
        _edges, {"forward": _sparsemap, "with gradient": _with_gradient(_sparsemap)}
    ),
    "sparsemap_trees": _part(
        _arcs,
        {
            "non-projective": _nonprojective,
            "with gradient": _with_gradient(_nonprojective),
            "projective": _projective,
            "projective, with gradient": _with_gradient(_projective),
        },
    ),
}
