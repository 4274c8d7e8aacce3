"""Pictures of structures with matplotlib, and as plain text.

* `figures`: figures without a window; saved as PNG or SVG, or as an array of pixels.
* `dependency_tree`: arcs between the words of a sentence, predicted beside gold.
* `undirected_tree`: vertices and edges, predicted beside gold.
* `text_tree`: a dependency tree in lines of text, for the log.
"""

from tfnes.plotting.dependency_tree import draw_dependency_tree
from tfnes.plotting.figures import save_figure, to_pixels
from tfnes.plotting.text_tree import format_dependency_tree
from tfnes.plotting.undirected_tree import draw_undirected_tree

__all__ = [
    "draw_dependency_tree",
    "draw_undirected_tree",
    "format_dependency_tree",
    "save_figure",
    "to_pixels",
]
