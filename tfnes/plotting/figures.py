"""Figures without a window or global state; saved as PNG or SVG, or as pixels.

Nothing here uses `pyplot`, so a caller's own figures and back end are left alone, and
figures may be drawn in any thread.
"""

from __future__ import annotations

import functools
import os
import unicodedata
import warnings

import numpy as np
from matplotlib import font_manager, rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

CORRECT = "#1f4e79"
WRONG = "#c0392b"
GOLD = "#7f8c8d"
INK = "#202020"

# DejaVu Sans (part of matplotlib) has Latin, Greek, Cyrillic, Arabic, Hebrew and more;
# the others, where installed, fill in what it lacks.
_FAMILIES = (
    "DejaVu Sans",
    "Noto Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "Arial Unicode MS",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Nirmala UI",
)


@functools.cache
def font_families() -> tuple[str, ...]:
    """Returns the fonts to try, in order, of those that are installed."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(name for name in _FAMILIES if name in installed) or ("sans-serif",)


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty white figure of so many inches."""
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def new_axes(figure: Figure):
    """Returns axes that fill the figure, one unit an inch, origin at the lower left."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    axes.axis("off")
    return axes


def text_width(text: str, *, size: float) -> float:
    """Returns about how many inches `text` takes at `size` points.

    Counting characters is enough to lay words out, and works for letters that no
    installed font has.
    """
    cells = 0.0
    for letter in text:
        if unicodedata.combining(letter):
            continue
        if unicodedata.east_asian_width(letter) in "WF":
            cells += 1.05
        elif letter in "ijlI.,:;'|!()[]":
            cells += 0.38
        elif letter.isupper() or letter in "mw@%—МШЩЮЖЫ":
            cells += 0.82
        else:
            cells += 0.63
    return cells * size / 72


def to_pixels(figure: Figure, *, dpi: int = 100) -> np.ndarray:
    """Returns the figure as `[height, width, 3]` uint8.

    Example:

        >>> from tfnes import plotting
        >>> figure = plotting.draw_dependency_tree(["a", "cat"], [2, 0])
        >>> plotting.to_pixels(figure).shape[-1]
        3
    """
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    with _quietly():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_figure(figure: Figure, path: str | os.PathLike, *, dpi: int = 150) -> None:
    """Saves a figure; the suffix says as what: .png, .svg or .pdf.

    Words in an SVG stay text, so that they can be searched, and are shown by the
    viewer's fonts.
    """
    with _quietly(), rc_context({"svg.fonttype": "none", "svg.hashsalt": "tfnes"}):
        figure.savefig(path, dpi=dpi)


def _quietly():
    """Silences warnings of letters that no installed font has: a box is drawn."""
    context = warnings.catch_warnings()

    class Quiet:
        def __enter__(self):
            context.__enter__()
            warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")

        def __exit__(self, *details):
            return context.__exit__(*details)

    return Quiet()
