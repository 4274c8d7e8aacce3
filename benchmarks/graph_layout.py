"""Times the generation of graph-layout data against a loop over networkx.

    python benchmarks/graph_layout.py --num_vertices=10 --num_timesteps=10

Both generate the same kind of examples, whole (random tree, start, every frame), in one
thread. Needs networkx.
"""

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import networkx as nx
import numpy as np

from tfnes.datasets.spring_layout import simulate_layouts


def networkx_layout(num_vertices, num_timesteps, rng):
    graph = nx.Graph()
    weights = rng.gumbel(size=num_vertices * (num_vertices - 1) // 2)
    pairs = zip(*np.triu_indices(num_vertices, k=1), strict=True)
    graph.add_weighted_edges_from(
        (int(i), int(j), w) for (i, j), w in zip(pairs, weights, strict=True)
    )
    tree = nx.Graph(nx.maximum_spanning_tree(graph).edges)
    places = dict(enumerate(rng.normal(size=[num_vertices, 2])))
    frames = []
    for _ in range(num_timesteps):
        places = nx.spring_layout(tree, pos=places, iterations=1, threshold=1e-10)
        frames.append([places[i] for i in range(num_vertices)])
    return np.array(frames), tree


def seconds_per_example(function, examples, repetitions):
    best = np.inf
    for _ in range(repetitions):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best / examples


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num_vertices", type=int, default=10)
    parser.add_argument("--num_timesteps", type=int, default=10)
    parser.add_argument("--examples", type=int, default=2000)
    parser.add_argument("--peer_examples", type=int, default=200)
    parser.add_argument("--repetitions", type=int, default=3)
    flags = parser.parse_args()
    rng = np.random.default_rng(0)
    size = (flags.num_vertices, flags.num_timesteps)
    ours = seconds_per_example(
        lambda: simulate_layouts(
            size[0], num_timesteps=size[1], start=0, stop=flags.examples
        ),
        flags.examples,
        flags.repetitions,
    )
    peer = seconds_per_example(
        lambda: [networkx_layout(*size, rng) for _ in range(flags.peer_examples)],
        flags.peer_examples,
        flags.repetitions,
    )
    print(f"{size[0]} vertices, {size[1]} timesteps, best of {flags.repetitions}")
    print(f"tfnes                   {1e6 * ours:9.1f} us an example")
    print(f"networkx {nx.__version__:<14} {1e6 * peer:9.1f} us an example")
    print(f"ratio                   {peer / ours:9.1f}")


if __name__ == "__main__":
    main()
