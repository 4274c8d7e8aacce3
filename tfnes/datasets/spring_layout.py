"""Random trees whose vertices move by a spring layout, many at once, in NumPy."""

from __future__ import annotations

import math

import numpy as np

_MIN_DISTANCE = 0.01
_FORCES_IN_CACHE = 25_600


def simulate_layouts(
    num_vertices: int,
    *,
    num_timesteps: int,
    start: int,
    stop: int,
    seed: int = 0,
    stream: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns trajectories and trees of the examples `start ... stop - 1`.

    The tree is the maximum spanning tree under i.i.d. Gumbel weights of the edges; the
    vertices start at i.i.d. standard normal places; every frame, the first included,
    is one `spring_layout_step` from the one before. Example i is a function of
    (`seed`, `stream`, i, `num_vertices`) alone, and more timesteps only append frames.

    Args:
      num_vertices: n, at least 2.
      num_timesteps: T frames.
      start: first example.
      stop: one past the last example.
      seed: integer.
      stream: integer; another stream is another, independent sequence of examples.

    Returns:
      positions: `[stop - start, T, n, 2]` float32, largest coordinate 1 in each frame.
      edges: `[stop - start, E]` uint8, the tree; upper triangle, row-major.

    Example:

        >>> from tfnes.datasets.spring_layout import simulate_layouts
        >>> positions, edges = simulate_layouts(5, num_timesteps=3, start=0, stop=4)
        >>> positions.shape, edges.sum(axis=1).tolist()
        ((4, 3, 5, 2), [4, 4, 4, 4])

    References:
      Paulus et al. 2020, "Gradient estimation with stochastic softmax tricks",
      appendix, graph layout.
    """
    positions = np.empty(
        [stop - start, num_timesteps, num_vertices, 2], dtype=np.float32
    )
    num_edges = num_vertices * (num_vertices - 1) // 2
    edges = np.empty([stop - start, num_edges], dtype=np.uint8)
    # A block's forces stay in the processor's cache, and bound the memory.
    block = max(1, _FORCES_IN_CACHE // num_vertices**2)
    for first in range(start, stop, block):
        last = min(first + block, stop)
        rows = slice(first - start, last - start)
        uniform = _uniform(
            first, last, width=num_edges + 2 * num_vertices, seed=seed, stream=stream
        )
        gumbel = -np.log(-np.log(uniform[:, :num_edges]))
        edges[rows] = maximum_spanning_trees(gumbel, num_vertices=num_vertices)
        adjacency = edges_to_adjacency(edges[rows], num_vertices=num_vertices)
        adjacency = adjacency.astype(np.float64)
        frame = _normal(uniform[:, num_edges:]).reshape(-1, num_vertices, 2)
        for time in range(num_timesteps):
            frame = spring_layout_step(frame, adjacency)
            positions[rows, time] = frame
    return positions, edges


def spring_layout_step(positions: np.ndarray, adjacency: np.ndarray) -> np.ndarray:
    """Returns the next frame of a force-directed layout.

    One iteration of Fruchterman & Reingold (1991): with k^2 = 1 / n and
    d_ij = max(|p_i - p_j|, 0.01), the force on vertex i is

        f_i = sum_j (p_i - p_j) (k^2 / d_ij^2 - a_ij d_ij / k)

    and p_i moves by a tenth of the layout's larger side in that direction. Then the
    mean is subtracted and the largest coordinate scaled to 1. The same as
    `networkx.spring_layout(graph, pos=positions, iterations=1)` of networkx 3.6.

    Args:
      positions: `[..., n, 2]` float64.
      adjacency: `[..., n, n]` float64, symmetric, 0 or 1.
    """
    k_squared = 1.0 / positions.shape[-2]
    side = np.ptp(positions, axis=-2).max(axis=-1)
    x, y = positions[..., 0], positions[..., 1]
    squared = np.square(x[..., :, None] - x[..., None, :])
    squared += np.square(y[..., :, None] - y[..., None, :])
    np.maximum(squared, _MIN_DISTANCE**2, out=squared)
    force = k_squared / squared
    np.sqrt(squared, out=squared)
    squared *= adjacency
    squared /= math.sqrt(k_squared)
    force -= squared
    # sum_j (p_i - p_j) f_ij without the differences.
    displacement = force.sum(axis=-1)[..., None] * positions - force @ positions
    length = np.sqrt(np.square(displacement).sum(axis=-1))
    step = 0.1 * side[..., None] / np.maximum(length, 0.01)
    moved = positions + displacement * step[..., None]
    moved -= moved.mean(axis=-2, keepdims=True)
    largest = np.abs(moved).max(axis=(-2, -1), keepdims=True)
    return moved / np.where(largest > 0, largest, 1.0)


def maximum_spanning_trees(weights: np.ndarray, *, num_vertices: int) -> np.ndarray:
    """Returns the spanning tree of largest weight of each row, by Prim's algorithm.

    Args:
      weights: `[B, E]` finite edge weights; upper triangle, row-major.
      num_vertices: n.

    Returns:
      `[B, E]` uint8.
    """
    rows, columns = np.triu_indices(num_vertices, k=1)
    batch = np.arange(len(weights))
    number = np.zeros([num_vertices, num_vertices], dtype=np.int64)
    number[rows, columns] = number[columns, rows] = np.arange(len(rows))
    nearest = np.zeros([len(weights), num_vertices], dtype=np.int64)
    gain = weights[:, number[0]]
    gain[:, 0] = -np.inf
    outside = np.ones([len(weights), num_vertices], dtype=bool)
    outside[:, 0] = False
    trees = np.zeros(weights.shape, dtype=np.uint8)
    for _ in range(num_vertices - 1):
        vertex = gain.argmax(axis=1)
        trees[batch, number[vertex, nearest[batch, vertex]]] = 1
        outside[batch, vertex] = False
        candidate = weights[batch[:, None], number[vertex]]
        better = (candidate > gain) & outside
        gain = np.where(better, candidate, np.where(outside, gain, -np.inf))
        nearest = np.where(better, vertex[:, None], nearest)
    return trees


def edges_to_adjacency(edges: np.ndarray, *, num_vertices: int) -> np.ndarray:
    """Returns the symmetric `[..., n, n]` matrix of `[..., E]` undirected edges."""
    rows, columns = np.triu_indices(num_vertices, k=1)
    adjacency = np.zeros([*edges.shape[:-1], num_vertices, num_vertices], edges.dtype)
    adjacency[..., rows, columns] = edges
    adjacency[..., columns, rows] = edges
    return adjacency


def _uniform(
    start: int, stop: int, *, width: int, seed: int, stream: int
) -> np.ndarray:
    """Returns `[stop - start, width]` numbers in (0, 1); a row depends on its index."""
    mask = 2**64 - 1
    # Four words come from one count of Philox: each example owns a range of counts.
    counts = -(-width // 4)
    bits = np.random.Philox(key=[seed & mask, stream & mask], counter=start * counts)
    words = bits.random_raw((stop - start) * counts * 4).reshape(stop - start, -1)
    return ((words[:, :width] >> np.uint64(12)) + 0.5) * 2.0**-52


def _normal(uniform: np.ndarray) -> np.ndarray:
    """Returns standard normal numbers from pairs of uniform ones (Box & Muller)."""
    radius = np.sqrt(-2.0 * np.log(uniform[:, 0::2]))
    angle = 2.0 * np.pi * uniform[:, 1::2]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
