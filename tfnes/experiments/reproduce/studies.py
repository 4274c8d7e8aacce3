"""The studies by name; a module is imported when its study is asked for."""

from __future__ import annotations

import importlib

from tfnes.experiments.reproduce.study import Study

STUDIES = {
    "figure2": ("Figure2", "seconds of an update against the size of the input"),
    "table1": ("Table1", "six methods recover a latent graph, in two latent spaces"),
    "table2": ("Table2", "four methods adapt a parser, on six pairs of treebanks"),
    "table3": ("Table3", "how many NES samples a larger network needs"),
    "figure3": ("Figure3", "|g - k| during training; bounded losses"),
    "figure4": ("Figure4", "the unstructured VAE on three data sets of images"),
}
"""Class and a line of description by name."""


def load(name: str) -> type[Study]:
    """Returns the class of a study."""
    module = importlib.import_module(f"tfnes.experiments.reproduce.{name}")
    return getattr(module, STUDIES[name][0])
