"""Times the dependency solvers beside named peers, one core, microseconds a tree.

    taskset -c 0 python benchmarks/solvers_dependency.py --peer_python=PYTHON

`--peer_python` is the interpreter of an environment with the peers (torch,
torch-struct==0.5, ufal.chu_liu_edmonds==1.0.3); without it only ours are timed. Peers
that do not import are left out. Times are CPU time of the process, so that other work
on the machine counts little; the least of several runs is shown. Scores are i.i.d.
N(0, 1).

Ours are called inside a graph, ten batches a call, as training does. ufal has no single
root: it is compared with ours without the constraint.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

THREADS = {
    name: "1"
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
}


def least_time(call, *, seconds: float, repeats: int = 3) -> float:
    """Returns the least CPU time of `call` over at least `repeats` runs."""
    call()
    times, begin = [], time.perf_counter()
    while len(times) < repeats or time.perf_counter() - begin < seconds:
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def time_ours(solver: str, n: int, batch: int, single_root: bool, seconds: float):
    """Returns microseconds a tree of `eisner`, `chu_liu_edmonds` or the surrogate."""
    import tensorflow as tf

    from tfnes import solvers

    batches = 10 if batch <= 128 else 1
    scores = tf.random.stateless_normal([batches, batch, n + 1, n + 1], [n, batch])

    if solver == "surrogate":

        def solve(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                soft = solvers.eisner_surrogate(x, single_root=single_root)
                value = tf.reduce_sum(soft * soft)
            return tape.gradient(value, x)

    else:
        function = getattr(solvers, solver)

        def solve(x):
            return function(x, single_root=single_root)

    @tf.function
    def run(scores):
        return [tf.reduce_sum(solve(x)) for x in tf.unstack(scores)]

    per_call = least_time(lambda: run(scores), seconds=seconds)
    return 1e6 * per_call / (batches * batch)


def time_peer(solver: str, n: int, batch: int, single_root: bool, seconds: float):
    """Returns microseconds a tree of the peer of `solver`, in the peers' Python."""
    import numpy as np

    rng = np.random.default_rng(n)
    if solver == "chu_liu_edmonds":
        import ufal.chu_liu_edmonds as peer

        scores = rng.normal(size=(batch, n + 1, n + 1))
        scores[:, 0], scores[:, range(n + 1), range(n + 1)] = np.nan, np.nan

        def run():
            for matrix in scores:
                peer.chu_liu_edmonds(matrix)

    else:
        import torch
        import torch_struct

        torch.set_num_threads(1)
        scores = torch.tensor(rng.normal(size=(batch, n, n)).astype(np.float32))

        def run():
            leaf = scores.detach().requires_grad_(True)
            _ = torch_struct.DependencyCRF(leaf, multiroot=not single_root).argmax

    return 1e6 * least_time(run, seconds=seconds) / batch


def ask_peer(python: str | None, case: tuple) -> float | None:
    """Runs `time_peer` in another interpreter; None if it cannot."""
    if python is None or case[0] == "surrogate":
        return None
    command = [python, __file__, "--as_peer", json.dumps(case)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **THREADS}
    )
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer_python", default=None)
    parser.add_argument("--solvers", default="eisner,chu_liu_edmonds,surrogate")
    parser.add_argument("--words", default="10,25,50,100")
    parser.add_argument("--batches", default="128,2048")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--as_peer", default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.as_peer is not None:
        print(time_peer(*json.loads(arguments.as_peer)))
        return
    os.environ.update(THREADS)
    print("solver | root | n | B | ours | peer | ratio")
    for solver in arguments.solvers.split(","):
        for n in map(int, arguments.words.split(",")):
            for batch in map(int, arguments.batches.split(",")):
                for single_root in (False, True):
                    case = (solver, n, batch, single_root, arguments.seconds)
                    ours = time_ours(*case)
                    compared = solver != "chu_liu_edmonds" or not single_root
                    peer = ask_peer(arguments.peer_python if compared else None, case)
                    root = "one" if single_root else "several"
                    shown = f"{peer:.1f} | {peer / ours:.1f}" if peer else "- | -"
                    print(f"{solver} | {root} | {n} | {batch} | {ours:.2f} | {shown}")
                    sys.stdout.flush()


if __name__ == "__main__":
    main()
