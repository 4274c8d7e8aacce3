"""Line plots of several methods, with the spread over seeds and lines to compare."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

COLORS = ("#1f4e79", "#c0392b", "#2e8b57", "#b8860b", "#6a3d9a", "#555555", "#008b8b")


@dataclasses.dataclass(frozen=True)
class Curve:
    """One run's y against x."""

    x: Sequence[float]
    y: Sequence[float]


@dataclasses.dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
      title: above.
      x_label: below.
      y_label: at the left.
      curves: for each label the curves of its seeds; they share one color.
      levels: horizontal lines by label, what needs no training.
      y_limits: of the axis; None: as the curves need.
      log_x: whether x is on a logarithmic scale.
      log_y: whether y is.
      bands: a line through the medians of a label's curves and a band around all, in
        the place of a line each.
      legend: whether the labels are explained in it.
    """

    title: str
    x_label: str
    y_label: str
    curves: Mapping[str, Sequence[Curve]]
    levels: Mapping[str, float] = dataclasses.field(default_factory=dict)
    y_limits: tuple[float, float] | None = None
    log_x: bool = False
    log_y: bool = False
    bands: bool = False
    legend: bool = True


def draw_panels(panels: Sequence[Panel], *, columns: int, size: float = 3.6) -> Any:
    """Returns a matplotlib figure of the panels, row by row.

    Labels have the same color in all panels.

    Args:
      panels: at least one.
      columns: panels in a row.
      size: width of a panel in inches.
    """
    from tfnes.plotting.figures import new_figure

    rows = -(-len(panels) // columns)
    figure = new_figure(size * columns, 0.8 * size * rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    labels = list(dict.fromkeys(label for p in panels for label in p.curves))
    color = {label: COLORS[i % len(COLORS)] for i, label in enumerate(labels)}
    for ax, panel in zip(axes, panels, strict=False):
        _draw(ax, panel, color)
    for ax in axes[len(panels) :]:
        ax.axis("off")
    figure.tight_layout()
    return figure


def _draw(ax: Any, panel: Panel, color: Mapping[str, str]) -> None:
    for label, curves in panel.curves.items():
        if panel.bands:
            _draw_band(ax, label, curves, color[label])
            continue
        for i, curve in enumerate(curves):
            ax.plot(
                curve.x,
                curve.y,
                color=color[label],
                linewidth=1.1,
                marker="." if len(curve.x) < 3 else None,
                alpha=0.8,
                label=label if i == 0 else None,
            )
    for i, (label, level) in enumerate(panel.levels.items()):
        style = ("--", ":", "-.")[i % 3]
        ax.axhline(level, color="#7f8c8d", linestyle=style, linewidth=1, label=label)
    ax.set_title(panel.title, fontsize=9)
    ax.set_xlabel(panel.x_label, fontsize=8)
    ax.set_ylabel(panel.y_label, fontsize=8)
    ax.tick_params(labelsize=7)
    # A logarithmic axis needs something to show.
    has_data = any(len(c.x) for curves in panel.curves.values() for c in curves)
    if panel.log_x and has_data:
        ax.set_xscale("log")
    if panel.log_y and has_data:
        ax.set_yscale("log")
    if panel.y_limits is not None:
        ax.set_ylim(*panel.y_limits)
    labeled = any(map(len, panel.curves.values())) or panel.levels
    if panel.legend and labeled:
        ax.legend(fontsize=6, frameon=False)


def _draw_band(ax: Any, label: str, curves: Sequence[Curve], color: str) -> None:
    """Draws the part that all curves have, at the places of the first."""
    curves = [curve for curve in curves if len(curve.x)]
    if not curves:
        return
    first, last = max(c.x[0] for c in curves), min(c.x[-1] for c in curves)
    x = np.array([at for at in curves[0].x if first <= at <= last])
    y = np.stack([np.interp(x, curve.x, curve.y) for curve in curves])
    ax.fill_between(x, y.min(0), y.max(0), color=color, alpha=0.2, linewidth=0)
    ax.plot(x, np.median(y, 0), color=color, linewidth=1.3, label=label)
