"""Undirected trees and graphs as vertices and edges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tfnes.errors import ConfigurationError
from tfnes.plotting import figures


def draw_undirected_tree(
    edges: Sequence[float],
    *,
    gold_edges: Sequence[float] | None = None,
    positions: np.ndarray | None = None,
    title: str | None = None,
) -> Figure:
    """Draws the chosen edges of a graph, and the gold graph beside it.

    Args:
      edges: `[E]`, E = n(n-1)/2, upper triangle row-major: 0, 1, or a weight between
        them that is shown as the edge's strength.
      gold_edges: `[E]` in {0, 1}, or None. Wrong edges are red, missed ones dashed.
      positions: `[n, 2]` of the vertices; None: on a circle.
      title: a line above the picture.

    Raises:
      ConfigurationError: if E is not n(n-1)/2 for any n, or the sizes differ.

    Example:

        >>> from tfnes import plotting
        >>> figure = plotting.draw_undirected_tree([1, 0, 1], gold_edges=[1, 1, 0])
        >>> len(figure.axes)
        2
    """
    edges = np.asarray(edges, np.float64)
    n = round((1 + np.sqrt(1 + 8 * edges.size)) / 2)
    if edges.ndim != 1 or n * (n - 1) // 2 != edges.size:
        raise ConfigurationError(
            "edges must be a vector of n(n-1)/2 entries (the upper triangle, row by "
            f"row). Received: shape {edges.shape}."
        )
    gold = None if gold_edges is None else np.asarray(gold_edges, np.float64)
    if gold is not None and gold.shape != edges.shape:
        raise ConfigurationError(
            f"gold_edges must have the shape {edges.shape} of edges. Received: "
            f"{gold.shape}."
        )
    if positions is None:
        angles = 2 * np.pi * np.arange(n) / max(n, 1) + np.pi / 2
        positions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    positions = np.asarray(positions, np.float64)
    if positions.shape != (n, 2):
        raise ConfigurationError(
            f"positions must have shape ({n}, 2). Received: {positions.shape}."
        )
    panels = 1 if gold is None else 2
    figure = figures.new_figure(3.4 * panels, 3.6)
    first, second = np.triu_indices(n, 1)
    for panel, shown in enumerate([edges] if gold is None else [edges, gold]):
        axes = figure.add_axes((panel / panels, 0.0, 1 / panels, 0.9))
        for e in np.flatnonzero(shown > 0.01):
            agrees = gold is None or (edges[e] >= 0.5) == (gold[e] >= 0.5)
            right_color = figures.CORRECT if panel == 0 else figures.GOLD
            axes.plot(
                positions[[first[e], second[e]], 0],
                positions[[first[e], second[e]], 1],
                color=right_color if agrees or panel == 1 else figures.WRONG,
                linestyle="dashed" if panel == 1 and not agrees else "solid",
                linewidth=1.8,
                alpha=float(np.clip(shown[e], 0.15, 1.0)),
                zorder=1,
            )
        x, y = positions.T
        axes.scatter(x, y, s=190, c="white", edgecolors=figures.INK, zorder=2)
        for vertex, (x, y) in enumerate(positions):
            axes.text(
                x, y, str(vertex),
                size=8,
                ha="center",
                va="center_baseline",
                zorder=3,
            )  # fmt: skip
        axes.set_title(
            "" if gold is None else ("predicted", "gold")[panel],
            size=9,
            color=figures.GOLD,
        )
        axes.set_aspect("equal")
        axes.margins(0.14)
        axes.axis("off")
    if title:
        figure.text(0.02, 0.98, title, size=9, color=figures.INK, va="top")
    return figure
