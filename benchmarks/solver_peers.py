"""The peers of `benchmarks/solvers.py`, in a process of their own.

It reads one request a line, in JSON, and answers with one line:

* `{"load": {"solver", "peer", "nodes", "batch", "single_root"}}`: makes the scores and
  solves them once; answers with the score of each best structure, or an error.
* `{"seconds": s}`: solves them again and again; answers with the seconds
  of CPU time of each.

Peers that do not import are errors of `load`; the other side leaves them out.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time

import numpy as np


def make_scores(solver: str, nodes: int, batch: int) -> np.ndarray:
    """Returns the i.i.d. N(0, 1) float32 scores that both sides solve."""
    shape = {
        "spanning_tree": (batch, nodes * (nodes - 1) // 2),
        "linear_assignment": (batch, nodes, nodes),
    }.get(solver, (batch, nodes + 1, nodes + 1))
    return np.random.default_rng(nodes).normal(size=shape).astype(np.float32)


def score_of_heads(scores: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """Returns the scores `[B]` of trees with `heads` `[B, n]`."""
    chosen = np.take_along_axis(scores[:, :, 1:], heads[:, None], axis=1)
    return chosen[:, 0].sum(-1)


def scipy_spanning_tree(scores, *, sparse, **_):
    """One call for each graph; `sparse`: of matrices that were converted before."""
    import scipy.sparse.csgraph

    # scipy minimizes, and reads 0 as "no edge".
    batch, edges = scores.shape
    nodes = (1 + round((1 + 8 * edges) ** 0.5)) // 2
    shift = scores.max() + 1.0
    graphs = np.zeros([batch, nodes, nodes])
    i, j = np.triu_indices(nodes, 1)
    graphs[:, i, j] = shift - scores
    if sparse:
        graphs = [scipy.sparse.csr_matrix(graph) for graph in graphs]
    solve = scipy.sparse.csgraph.minimum_spanning_tree
    return (
        lambda: [solve(graph) for graph in graphs],
        lambda trees: [(nodes - 1) * shift - tree.sum() for tree in trees],
    )


def scipy_assignment(scores, **_):
    import scipy.optimize

    solve = scipy.optimize.linear_sum_assignment
    return (
        lambda: [solve(matrix, maximize=True) for matrix in scores],
        lambda found: [m[pair].sum() for m, pair in zip(scores, found, strict=True)],
    )


def ufal(scores, **_):
    """Chu-Liu-Edmonds in C++, several roots; it takes `[dependent, head]`."""
    import ufal.chu_liu_edmonds as peer

    given = np.ascontiguousarray(scores.transpose(0, 2, 1)).astype(np.float64)
    nodes = np.arange(given.shape[-1])
    given[:, 0], given[:, nodes, nodes] = np.nan, np.nan
    return (
        lambda: [peer.chu_liu_edmonds(matrix) for matrix in given],
        lambda found: [value for _, value in found],
    )


def supar(scores, *, single_root, **_):
    """Chu-Liu-Edmonds in Python on tensors; it takes `[dependent, head]`."""
    import torch
    from supar.structs.fn import mst
    from supar.utils.common import MIN

    torch.set_num_threads(1)
    given = torch.tensor(scores.transpose(0, 2, 1).copy())
    given[:, 0, 1:] = MIN
    given.diagonal(0, 1, 2)[:, 1:] = MIN
    mask = torch.ones(given.shape[:2], dtype=torch.bool)
    mask[:, 0] = False

    def solve():
        return mst(given.clone(), mask, multiroot=not single_root)

    return solve, lambda heads: score_of_heads(scores, heads.numpy()[:, 1:])


def torch_struct(scores, *, single_root, **_):
    """Eisner as a semiring product; root scores are on the diagonal."""
    import torch
    import torch_struct as peer

    torch.set_num_threads(1)
    words = np.arange(scores.shape[-1] - 1)
    given = scores[:, 1:, 1:].copy()
    given[:, words, words] = scores[:, 0, 1:]
    given = torch.tensor(given)

    def solve():
        # The argmax is a gradient: version 0.5 needs a leaf to take it of.
        leaf = given.detach().requires_grad_(True)
        return peer.DependencyCRF(leaf, multiroot=not single_root).argmax

    return solve, lambda trees: (trees * given).sum((1, 2)).detach().numpy()


PEERS = {
    ("spanning_tree", "scipy"): functools.partial(scipy_spanning_tree, sparse=False),
    ("spanning_tree", "scipy-csr"): functools.partial(scipy_spanning_tree, sparse=True),
    ("linear_assignment", "scipy"): scipy_assignment,
    ("chu_liu_edmonds", "ufal"): ufal,
    ("chu_liu_edmonds", "supar"): supar,
    ("eisner", "torch-struct"): torch_struct,
}


def load(solver, peer, nodes, batch, single_root):
    """Returns a function that solves the batch once, and the best scores."""
    scores = make_scores(solver, nodes, batch)
    solve, values = PEERS[solver, peer](scores, single_root=single_root)
    return solve, [float(value) for value in values(solve())]


def main() -> None:
    # What the peers print must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    solve = None
    for line in sys.stdin:
        request = json.loads(line)
        if "load" in request:
            try:
                solve, values = load(**request["load"])
                answer = {"values": values}
            except Exception as error:  # whatever a peer raises: it is left out
                answer = {"error": f"{type(error).__name__}: {error}"}
        else:
            times, begin = [], time.perf_counter()
            while not times or time.perf_counter() - begin < request["seconds"]:
                start = time.process_time()
                solve()
                times.append(time.process_time() - start)
            answer = {"times": times}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
