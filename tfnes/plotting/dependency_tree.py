"""Dependency trees as arcs between words.

The predicted tree is drawn on one side of the words and the gold tree on the other.
Short sentences run from left to right; a long one runs down the page, one word a line,
so that it stays readable at any length.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Polygon
from matplotlib.path import Path

from tfnes.errors import ConfigurationError
from tfnes.plotting import figures

_WORD_SIZE = 11
_LABEL_SIZE = 7.5
_GAP = 0.16
_STEP = 0.3
_LINE = 0.27
_MARGIN = 0.2


def draw_dependency_tree(
    forms: Sequence[str],
    heads: Sequence[int],
    *,
    relations: Sequence[str] | None = None,
    gold_heads: Sequence[int] | None = None,
    gold_relations: Sequence[str] | None = None,
    title: str | None = None,
    max_across: int = 22,
) -> Figure:
    """Draws a dependency tree, and the gold tree opposite where one is given.

    Predicted arcs that are not in the gold tree are red; so are the names of wrong
    relations, and dashed the gold arcs that were missed.

    Args:
      forms: the n words.
      heads: head of each word, 0 the root.
      relations: name of each arc; None: arcs without names.
      gold_heads: heads of the gold tree; None: the predicted tree alone.
      gold_relations: names of the gold arcs.
      title: a line above the picture.
      max_across: sentences of more words run down the page.

    Returns:
      a `matplotlib.figure.Figure`; see `save_figure` and `to_pixels`.

    Raises:
      ConfigurationError: if a sequence does not have one entry for each word.

    Example:

        >>> from tfnes import plotting
        >>> figure = plotting.draw_dependency_tree(
        ...     ["a", "cat", "sleeps"], [2, 3, 0], gold_heads=[2, 3, 0])
        >>> len(figure.axes)
        1
    """
    n = len(forms)
    given = {
        "heads": heads,
        "relations": relations,
        "gold_heads": gold_heads,
        "gold_relations": gold_relations,
    }
    for name, values in given.items():
        if values is not None and len(values) != n:
            raise ConfigurationError(
                f"{name} must have one entry for each of {n} words. Received: "
                f"{len(values)}."
            )
    forms = [_shorten(form) for form in forms]
    sides = [_Side(heads, relations, against=(gold_heads, gold_relations))]
    if gold_heads is not None:
        sides.append(
            _Side(gold_heads, gold_relations, against=(heads, None), is_gold=True)
        )
    draw = _draw_across if n <= max_across else _draw_down
    return draw(forms, sides, title)


class _Side:
    """One tree, and how each of its arcs is to look."""

    def __init__(self, heads, relations, *, against, is_gold=False):
        self.heads = [int(head) for head in heads]
        self.names = list(relations) if relations is not None else None
        self.is_gold = is_gold
        self.levels = _levels(self.heads)
        other_heads, other_names = against
        n = len(self.heads)
        same = [
            other_heads is None or self.heads[i] == int(other_heads[i])
            for i in range(n)
        ]
        base = figures.GOLD if is_gold else figures.CORRECT
        self.colors = [base if ok or is_gold else figures.WRONG for ok in same]
        self.dashed = [is_gold and not ok for ok in same]
        self.label_colors = [
            figures.WRONG
            if (not ok and not is_gold)
            or (
                other_names is not None
                and self.names
                and self.names[i] != other_names[i]
            )
            else base
            for i, ok in enumerate(same)
        ]

    def label_width(self, word: int) -> float:
        if self.names is None:
            return 0.0
        return figures.text_width(self.names[word], size=_LABEL_SIZE)


def _draw_across(forms, sides, title) -> Figure:
    slots = [
        max(
            figures.text_width(form, size=_WORD_SIZE),
            *(side.label_width(i) for side in sides),
        )
        + _GAP
        for i, form in enumerate(forms)
    ]
    edges = np.concatenate([[0], np.cumsum(slots)]) + _MARGIN
    centers = (edges[:-1] + edges[1:]) / 2
    above = _room(sides[0])
    below = _room(sides[1]) if len(sides) > 1 else 0.1
    caption = 0.25 if title or len(sides) > 1 else 0.0
    width = max(edges[-1] + _MARGIN, 3.0)
    height = above + below + 0.34 + caption + 0.1
    figure = figures.new_figure(width, height)
    axes = figures.new_axes(figure)
    middle = below + 0.17 + 0.05
    for x, form in zip(centers, forms, strict=True):
        _word(axes, x, middle, form, "center")
    for side in sides:
        sign = -1 if side.is_gold else 1
        base = middle + sign * 0.15
        for i, head in enumerate(side.heads):
            _arc(
                axes, side, i,
                start=None if head == 0 else centers[head - 1],
                end=centers[i],
                base=base,
                tip=sign,
                across=True,
            )  # fmt: skip
    _caption(axes, sides, title, ("above", "below"), height)
    return figure


def _draw_down(forms, sides, title) -> Figure:
    n = len(forms)
    word_width = max(figures.text_width(form, size=_WORD_SIZE) for form in forms)
    names = [max(side.label_width(i) for i in range(n)) for side in sides]
    left = _room(sides[0], step=_LINE) + 0.1
    right = _room(sides[1], step=_LINE) + 0.1 if len(sides) > 1 else 0.2
    columns = word_width + sum(names) + 0.5
    width = max(left + columns + right + 2 * _MARGIN, 4.0)
    caption = 0.3 if title or len(sides) > 1 else 0.0
    height = n * _LINE + caption + 2 * _MARGIN
    figure = figures.new_figure(width, height)
    axes = figures.new_axes(figure)
    rows = height - caption - _MARGIN - (np.arange(n) + 0.5) * _LINE
    start = _MARGIN + left
    text = start + names[0] + 0.25
    for y, form in zip(rows, forms, strict=True):
        _word(axes, text, y, form, "left")
    for side in sides:
        sign = 1 if side.is_gold else -1
        base = start if not side.is_gold else text + word_width + names[1] + 0.3
        for i, head in enumerate(side.heads):
            _arc(
                axes, side, i,
                start=None if head == 0 else rows[head - 1],
                end=rows[i],
                base=base,
                tip=sign,
                across=False,
            )  # fmt: skip
            if side.names is not None:
                # Beside its word: there an arc's name never hides another arc.
                axes.text(
                    base - sign * 0.06, rows[i], side.names[i],
                    size=_LABEL_SIZE,
                    color=side.label_colors[i],
                    ha="right" if side.is_gold else "left",
                    va="center_baseline",
                    family=figures.font_families(),
                )  # fmt: skip
    _caption(axes, sides, title, ("left", "right"), height)
    return figure


def _arc(axes, side, word, *, start, end, base, tip, across) -> None:
    """Draws the arc into `word`; `tip` (+1, -1) is the side of the words it is on."""
    color = side.colors[word]
    style = {
        "edgecolor": color,
        "facecolor": "none",
        "linewidth": 1.1,
        "linestyle": (0, (3, 2)) if side.dashed[word] else "solid",
    }

    def point(along: float, away: float) -> tuple[float, float]:
        return (along, base + tip * away) if across else (base + tip * away, along)

    step = _STEP if across else _LINE * 0.8
    head_length = 0.07
    if start is None:
        top = (max(side.levels) + 0.6) * step if across else 0.45
        axes.add_patch(
            PathPatch(Path([point(end, head_length), point(end, top)]), **style)
        )
    else:
        top = side.levels[word] * step
        direction = np.sign(end - start)
        # Leave the head a little to the side, so that arrows into it stay visible.
        begin = start + direction * 0.06
        bend = (
            min(0.35, abs(end - begin) / 2)
            if across
            else min(0.1, abs(end - begin) / 2)
        )
        path = Path(
            [
                point(begin, 0),
                point(begin, top),
                point(begin, top),
                point(begin + direction * bend, top),
                point(end - direction * bend, top),
                point(end, top),
                point(end, top),
                point(end, head_length),
            ],
            [
                Path.MOVETO,
                Path.CURVE4,
                Path.CURVE4,
                Path.CURVE4,
                Path.LINETO,
                Path.CURVE4,
                Path.CURVE4,
                Path.CURVE4,
            ],
        )
        axes.add_patch(PathPatch(path, **style))
    axes.add_patch(
        Polygon(
            [point(end, 0), point(end - 0.032, 0.085), point(end + 0.032, 0.085)],
            closed=True,
            color=color,
            linewidth=0,
        )
    )
    if across and side.names is not None:
        x, y = (
            (end, point(end, top)[1])
            if start is None
            else (
                (begin + end) / 2,
                point(end, top)[1],
            )
        )
        axes.text(
            x, y, side.names[word],
            size=_LABEL_SIZE,
            color=side.label_colors[word],
            ha="center",
            va="center",
            family=figures.font_families(),
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
            zorder=3,
        )  # fmt: skip


def _word(axes, x: float, y: float, form: str, align: str) -> None:
    axes.text(
        x, y, form.replace("$", r"\$"),
        size=_WORD_SIZE,
        color=figures.INK,
        ha=align,
        va="center_baseline",
        family=figures.font_families(),
    )  # fmt: skip


def _caption(axes, sides, title, places, height) -> None:
    parts = [title] if title else []
    if len(sides) > 1:
        n = len(sides[0].heads)
        right = n - sides[0].colors.count(figures.WRONG)
        parts.append(
            f"predicted {places[0]}, gold {places[1]}: {right} of {n} heads right"
        )
    axes.text(
        _MARGIN, height - 0.1, "   ".join(parts).replace("$", r"\$"),
        size=8.5,
        color=figures.GOLD,
        ha="left",
        va="top",
        family=figures.font_families(),
    )  # fmt: skip


def _room(side: _Side, *, step: float = _STEP) -> float:
    return (max(side.levels, default=1) + 1.0) * step


def _levels(heads: Sequence[int]) -> list[int]:
    """Returns the height of each word's arc: above all arcs that it covers.

    Shorter arcs first; an arc goes one level above the arcs inside its span that touch
    it, so a left-to-right chain stays flat.
    """
    spans = {
        i: (min(head, i + 1), max(head, i + 1)) for i, head in enumerate(heads) if head
    }
    levels = [1] * len(heads)
    done: list[int] = []
    for i in sorted(spans, key=lambda i: (spans[i][1] - spans[i][0], i)):
        low, high = spans[i]
        inside = [levels[j] for j in done if spans[j][0] < high and spans[j][1] > low]
        levels[i] = 1 + max(inside, default=0)
        done.append(i)
    return levels


def _shorten(form: str, limit: int = 24) -> str:
    return form if len(form) <= limit else form[: limit - 1] + "…"
