"""Times the solvers beside named peers, in turns, microseconds a structure.

    python benchmarks/solvers.py                          every solver and sum
    python benchmarks/solvers.py --peer_python=PYTHON     peers of another environment
    python benchmarks/solvers.py --only spanning_tree,eisner --sizes 10x128,25x128

Peers run in a process of their own, by `--peer_python` (default: this interpreter);
those that do not import there are left out: scipy, torch-struct 0.5 (with torch),
ufal.chu_liu_edmonds 1.0.3 (C++), supar 1.1.4. Ours and the peers' turns alternate, on
the same scores, i.i.d. N(0, 1), float32; every figure is the median of all calls of all
turns, in CPU time of the process, so that other work on the machine counts little; both
sides' answers are compared before. One core is used; pin the process to it
(`taskset -c 0 python ...`).

Ours are timed inside a graph that solves ten batches, as training does (large batches:
one); "one call" is one batch by one call from Python, which adds what TensorFlow takes
for any call. scipy's spanning trees are timed twice: "scipy" is given dense matrices,
"scipy-csr" matrices that were converted before.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import pathlib
import resource
import subprocess
import sys
import time

os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import solver_sums
import tensorflow as tf
from solver_peers import make_scores, score_of_heads

from tfnes import solvers

ROUNDS = 5
LARGE = 51_200

# Solver, rule for the root, peers.
CASES = [
    ("spanning_tree", "", ["scipy", "scipy-csr"]),
    ("eisner", "several roots", ["torch-struct"]),
    ("eisner", "single root", ["torch-struct"]),
    ("chu_liu_edmonds", "several roots", ["ufal"]),
    ("chu_liu_edmonds", "single root", ["supar"]),
    ("linear_assignment", "", ["scipy"]),
]


def median_times(functions, *, seconds):
    """Returns the median seconds of each function, called in turns.

    Args:
      functions: by name; each takes the seconds of a turn and returns those of its
        calls.
      seconds: for each function, over all turns.
    """
    times = {name: [] for name in functions}
    for _ in range(ROUNDS):
        for name, turn in functions.items():
            times[name] += turn(seconds / ROUNDS)
    return {name: float(np.median(values)) for name, values in times.items()}


def turns(call):
    """Returns `call` as a function of the seconds for which it is repeated."""

    def turn(seconds):
        # The first calls of a turn wait for sleeping threads and cold caches.
        for _ in range(2):
            call()
        times, begin = [], time.perf_counter()
        while not times or time.perf_counter() - begin < seconds:
            start = time.process_time()
            call()
            times.append(time.process_time() - start)
        return times

    return turn


class Peer:
    """A peer's process, see `solver_peers`."""

    def __init__(self, python):
        path = pathlib.Path(__file__).with_name("solver_peers.py")
        self.process = subprocess.Popen(
            [python, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, **request):
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def turn(self, seconds):
        return self.ask(seconds=seconds)["times"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def our_solver(name, root):
    """Returns a solver as a function of scores."""
    if name == "spanning_tree":
        return solvers.maximum_spanning_tree
    if name == "linear_assignment":
        return solvers.linear_assignment
    solver = getattr(solvers, name)
    return lambda scores: solver(scores, single_root=root == "single root")


def values_of(name, scores, result):
    """Returns the scores `[B]` of what our solver found."""
    if name == "spanning_tree":
        return (scores * result).sum(-1)
    if name == "linear_assignment":
        return np.take_along_axis(scores, result[..., None], -1).sum((-2, -1))
    return score_of_heads(scores, result)


def time_case(case, nodes, batch, *, python, seconds):
    """Returns microseconds a structure of ours and of the peers that can be asked."""
    name, root, peers = case
    solve = our_solver(name, root)
    scores = make_scores(name, nodes, batch)
    batches = 10 if batch <= 128 else 1
    many = np.random.default_rng(1).normal(size=[batches, *scores.shape])
    many[0] = scores
    many, one = tf.constant(many, tf.float32), tf.constant(scores)

    # Sums, so that every batch is solved and little is handed back.
    in_graph = tf.function(
        lambda: tf.stack([tf.reduce_sum(solve(x)) for x in tf.unstack(many)]),
        autograph=False,
    )
    by_call = tf.function(solve, autograph=False)
    plain = tf.function(solve, autograph=False)
    begin = time.perf_counter()
    values = values_of(name, scores, by_call(one).numpy())
    first_call = time.perf_counter() - begin
    with solvers.use_jit_compile(False):
        plain(one)
    calls = {
        "ours": turns(lambda: in_graph().numpy()),
        "one call": turns(lambda: by_call(one).numpy()),
        "without XLA": turns(lambda: plain(one).numpy()),
    }
    processes = []
    for peer in peers:
        process = Peer(python)
        processes.append(process)
        answer = process.ask(
            load={
                "solver": name,
                "peer": peer,
                "nodes": nodes,
                "batch": batch,
                "single_root": root == "single root",
            }
        )
        if "error" in answer:
            print(f"  without {peer}: {answer['error']}")
            continue
        np.testing.assert_allclose(values, answer["values"], rtol=1e-4, err_msg=peer)
        calls[peer] = process.turn
    times = median_times(calls, seconds=seconds)
    for process in processes:
        process.close()
    times["ours"] /= batches
    times = {key: 1e6 * value / batch for key, value in times.items()}
    return {"n": nodes, "batch": batch, "first_call_s": first_call, **times}


def compare(case, *, sizes, python, seconds):
    """Prints a line for each size and peer, and how the time grows with n."""
    name, root, _ = case
    print(f"\n{name}{', ' + root if root else ''}: microseconds a structure")
    rows = []
    for nodes, batch in sizes:
        row = time_case(case, nodes, batch, python=python, seconds=seconds)
        rows.append({"solver": name, "root": root, **row})
        ours, one = row["ours"], row["one call"]
        print(
            f"n {nodes:3d}  B {batch:4d}  ours {ours:.2f}  one call {one:.2f}  "
            f"without XLA {row['without XLA']:.1f}  first call "
            f"{row['first_call_s']:.1f} s",
            flush=True,
        )
        for peer in [key for key in row if key in case[2]]:
            print(
                f"    {peer} {row[peer]:.1f}: {row[peer] / ours:.1f} times ours, "
                f"{row[peer] / one:.1f} times one call",
                flush=True,
            )
    exponent = growth([(row["n"], row["ours"]) for row in rows if row["batch"] <= 128])
    if exponent is not None:
        print(f"growth with n from 25 to 100: n^{exponent:.2f}", flush=True)
    return rows


def growth(points):
    """Returns the exponent b of time ~ n^b over n from 25 to 100, by least squares."""
    points = [point for point in points if 25 <= point[0] <= 100]
    if len(points) < 2:
        return None
    nodes, times = np.log(np.array(points)).T
    return float(np.polyfit(nodes, times, 1)[0])


def compare_roots(rows):
    """Prints what the constraint of a single root costs, size by size."""
    for name in ("eisner", "chu_liu_edmonds"):
        times = {
            (row["root"], row["n"], row["batch"]): row["ours"]
            for row in rows
            if row["solver"] == name
        }
        for (root, nodes, batch), time_of_single in times.items():
            several = times.get(("several roots", nodes, batch))
            if root == "single root" and several:
                print(
                    f"{name}, n {nodes}, B {batch}: a single root takes "
                    f"{time_of_single / several:.2f} times several roots"
                )


def large_batch(name, *, seconds):
    """Prints the time a tree of n = 25 at B = 2048 and B = 51,200, and peak memory."""
    solve = tf.function(our_solver(name, "single root"), autograph=False)
    calls = {}
    for batch in (2048, LARGE):
        # One batch many times over: the time does not depend on what is repeated.
        scores = tf.tile(
            make_scores(name, 25, 2048),
            [batch // 2048, *[1] * (1 if name == "spanning_tree" else 2)],
        )
        calls[batch] = turns(functools.partial(lambda x: solve(x).numpy(), scores))
    times = median_times(calls, seconds=seconds)
    small, large = (1e6 * times[batch] / batch for batch in (2048, LARGE))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{name}, n 25: B 2048 {small:.2f}, B {LARGE} in one call {large:.2f} "
        f"({large / small:.2f}), peak memory of the process {peak:.2f} GiB",
        flush=True,
    )


def pair(text):
    nodes, batch = text.split("x")
    return int(nodes), int(batch)


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = list(dict.fromkeys(case[0] for case in CASES))
    sums = solver_sums.PARTS
    parser.add_argument("--only", default=",".join([*names, "large", *sums]))
    parser.add_argument(
        "--sizes",
        type=lambda text: [pair(size) for size in text.split(",")],
        default="10x128,25x128,50x128,100x128,25x2048",
        help="comma-separated: nodes x batch (default: %(default)s)",
    )
    parser.add_argument("--peer_python", default=sys.executable, metavar="PYTHON")
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="for each figure (default: 2)"
    )
    parser.add_argument("--json", help="where to write the figures")
    parser.add_argument("--large", help=argparse.SUPPRESS)
    flags = parser.parse_args(arguments)
    if flags.large:
        large_batch(flags.large, seconds=flags.seconds)
        return
    chosen = flags.only.split(",")
    unknown = [name for name in chosen if name not in [*names, "large", *sums]]
    if unknown:
        parser.error(f"unknown part {unknown[0]!r}")
    rows = []
    for case in CASES:
        if case[0] in chosen:
            rows += compare(
                case, sizes=flags.sizes, python=flags.peer_python, seconds=flags.seconds
            )
    compare_roots(rows)
    if "large" in chosen:
        # Each in a process of its own, for the sake of its peak memory.
        for name in ("spanning_tree", "eisner", "chu_liu_edmonds"):
            command = [sys.executable, __file__, f"--large={name}"]
            subprocess.run([*command, f"--seconds={flags.seconds}"], check=True)
    for name, part in sums.items():
        if name in chosen:
            rows += part(flags.sizes, median_times, turns, seconds=flags.seconds)
    if flags.json:
        pathlib.Path(flags.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
