"""Times the solvers beside their peers, one after the other in one process.

    python benchmarks/solvers.py                          everything
    python benchmarks/solvers.py --only spanning_tree --sizes 10,25
    python benchmarks/solvers.py --json solvers.json

Peers: `scipy.sparse.csgraph.minimum_spanning_tree` and
`scipy.optimize.linear_sum_assignment`, which solve one example a call. Pin the process
to one core (`taskset -c 0`, TF_NUM_INTRAOP_THREADS=1, TF_NUM_INTEROP_THREADS=1) for
figures that can be compared. Figures are microseconds an example, the best of several
runs that alternate with the peer's; answers are compared before they are timed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pathlib
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import scipy.optimize
import scipy.sparse.csgraph
import tensorflow as tf

from tfnes import random, solvers


def alternate(functions, rows, *, seconds):
    """Returns the best microseconds an example of each function, timed in turns.

    A turn is several calls in a row, because the first ones wait for sleeping threads.
    """
    best = dict.fromkeys(functions, float("inf"))
    turn = seconds / 5 / len(functions)
    for _ in range(5):
        for name, function in functions.items():
            end, calls = time.perf_counter() + turn, 0
            while calls < 3 or time.perf_counter() < end:
                before = time.perf_counter()
                function()
                best[name] = min(best[name], time.perf_counter() - before)
                calls += 1
    return {name: 1e6 * value / rows for name, value in best.items()}


def compiled(function, *tensors, jit=True):
    """Returns a call of `function` in a graph that waits for its result, and the
    seconds that the first call took."""
    graph = tf.function(function, autograph=False)

    def call():
        return tf.nest.map_structure(lambda x: x.numpy(), graph(*tensors))

    before = time.perf_counter()
    with solvers.use_jit_compile(jit):
        call()
    return call, time.perf_counter() - before


def spanning_tree(sizes, rows, seconds):
    """Maximum spanning trees, beside scipy's loop."""
    for n in sizes:
        scores = np.random.default_rng(0).normal(size=[rows, n * (n - 1) // 2])
        scores = scores.astype(np.float32)
        # scipy minimizes, and reads 0 as "no edge".
        shift = scores.max() + 1.0
        dense = np.zeros([rows, n, n])
        i, j = np.triu_indices(n, 1)
        dense[:, i, j] = shift - scores
        given = tf.constant(scores)
        ours, seconds_xla = compiled(solvers.maximum_spanning_tree, given)
        plain, _ = compiled(solvers.maximum_spanning_tree, given, jit=False)

        def peer(dense=dense):
            return [scipy.sparse.csgraph.minimum_spanning_tree(x) for x in dense]

        expected = [(n - 1) * shift - tree.sum() for tree in peer()]
        np.testing.assert_allclose((ours() * scores).sum(1), expected, rtol=1e-4)
        np.testing.assert_array_equal(ours(), plain())
        times = alternate(
            {"ours": ours, "without_xla": plain, "scipy": peer}, rows, seconds=seconds
        )
        yield {"n": n, "batch": rows, "compile_s": seconds_xla, **times}


def spanning_tree_sums(sizes, rows, seconds):
    """Marginals by the matrix-tree theorem, forward, and with their gradient."""
    for n in sizes:
        scores = np.random.default_rng(0).normal(size=[rows, n * (n - 1) // 2])
        given = tf.constant(scores.astype(np.float32))

        def gradient(scores):
            with tf.GradientTape() as tape:
                tape.watch(scores)
                total = tf.reduce_sum(solvers.spanning_tree_marginals(scores) ** 2)
            return tape.gradient(total, scores)

        functions = {
            "log_partition": compiled(solvers.spanning_tree_log_partition, given)[0],
            "marginals": compiled(solvers.spanning_tree_marginals, given)[0],
            "with_gradient": compiled(gradient, given)[0],
            "scores_x100": compiled(solvers.spanning_tree_marginals, 100 * given)[0],
        }
        times = alternate(functions, rows, seconds=seconds)
        yield {"n": n, "batch": rows, **times}


def spanning_tree_samples(sizes, rows, seconds):
    """Exact samples, beside the Markov chain with its default number of steps."""
    for n in sizes:
        scores = np.random.default_rng(0).normal(size=[rows, n * (n - 1) // 2])
        given = tf.constant(scores.astype(np.float32))
        seed = random.make_seed(0)

        def exact(scores, seed=seed):
            return solvers.sample_spanning_trees(scores, num_samples=1, seed=seed)

        def chain(scores, seed=seed):
            return solvers.spanning_tree_chain(scores, seed=seed)

        functions = {
            "exact": compiled(exact, given)[0],
            "chain": compiled(chain, given)[0],
        }
        yield {"n": n, "batch": rows, **alternate(functions, rows, seconds=seconds)}


def linear_assignment(sizes, rows, seconds):
    """Best permutations, beside scipy's loop."""
    for n in sizes:
        scores = np.random.default_rng(0).normal(size=[rows, n, n]).astype(np.float32)
        ours, seconds_xla = compiled(solvers.linear_assignment, tf.constant(scores))

        def peer(scores=scores):
            solve = scipy.optimize.linear_sum_assignment
            return [solve(x, maximize=True)[1] for x in scores]

        np.testing.assert_array_equal(ours(), peer())
        times = alternate({"ours": ours, "scipy": peer}, rows, seconds=seconds)
        yield {"n": n, "batch": rows, "compile_s": seconds_xla, **times}


def sparsemap(sizes, rows, seconds):
    """SparseMAP of spanning trees, 10 iterations, forward and with its gradient."""
    for n in sizes:
        scores = np.random.default_rng(0).normal(size=[rows, n * (n - 1) // 2])
        given = tf.constant(scores.astype(np.float32))

        def forward(scores):
            return solvers.sparsemap(scores, argmax=solvers.maximum_spanning_tree)

        def gradient(scores):
            with tf.GradientTape() as tape:
                tape.watch(scores)
                total = tf.reduce_sum(forward(scores) ** 2)
            return tape.gradient(total, scores)

        functions = {
            "forward": compiled(forward, given)[0],
            "with_gradient": compiled(gradient, given)[0],
        }
        yield {"n": n, "batch": rows, **alternate(functions, rows, seconds=seconds)}


PARTS = {
    "spanning_tree": spanning_tree,
    "spanning_tree_sums": spanning_tree_sums,
    "spanning_tree_samples": spanning_tree_samples,
    "linear_assignment": linear_assignment,
    "sparsemap": sparsemap,
}


def dependency_parts():
    """The parts of the dependency solvers' own file, where it is there."""
    path = pathlib.Path(__file__).with_name("solvers_dependency.py")
    if not path.exists():
        return {}
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, "PARTS", {})


def growth(rows, name):
    """Returns the exponent b of time ~ n^b over n from 25 to 100, by least squares."""
    points = [(row["n"], row[name]) for row in rows if 25 <= row["n"] <= 100]
    if len(points) < 2:
        return None
    n, times = np.log(np.array(points)).T
    return float(np.polyfit(n, times, 1)[0])


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = PARTS | dependency_parts()
    parser.add_argument("--only", help=f"comma-separated: {', '.join(parts)}")
    parser.add_argument("--sizes", default="10,25,50,100")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each size")
    parser.add_argument("--json", help="where to write the figures")
    flags = parser.parse_args(arguments)
    names = flags.only.split(",") if flags.only else list(parts)
    unknown = [name for name in names if name not in parts]
    if unknown:
        parser.error(f"unknown part {unknown[0]!r}; there are {', '.join(parts)}")
    sizes = [int(size) for size in flags.sizes.split(",")]
    results = {}
    for name in names:
        print(f"{name}: {parts[name].__doc__.splitlines()[0]}")
        results[name] = []
        for row in parts[name](sizes, flags.batch, flags.seconds):
            results[name].append(row)
            print(
                "  "
                + "  ".join(
                    f"{key} {value:.3g}"
                    if isinstance(value, float)
                    else f"{key} {value}"
                    for key, value in row.items()
                )
            )
            if "scipy" in row:
                print(f"    {row['scipy'] / row['ours']:.0f} times scipy's speed")
            sys.stdout.flush()
        exponent = growth(results[name], "ours") if "ours" in results[name][0] else None
        if exponent is not None:
            print(f"  growth with n from 25 to 100: n^{exponent:.2f}")
    if flags.json:
        pathlib.Path(flags.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
