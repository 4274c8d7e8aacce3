"""Keras callbacks; they work in any `fit`, and so does any other Keras callback here.

* `throughput`: `Throughput`, examples and evaluations a second, in the progress bar.
* `split_evaluation`: `SplitEvaluation`, metrics of further splits at each epoch's end.
* `smoothing_gap`: `SmoothingGap`, distance of the loss to its Gaussian smoothing.
* `scalars`: `Scalars`, TensorBoard scalars under readable names, by update.
* `tree_pictures`: `TreePictures`, predicted beside gold trees in TensorBoard.
* `graph_pictures`: `GraphPictures`, the same for undirected graphs.
* `distributions`: `Distributions`, histograms of log-potentials and of fitness.
"""

from tfnes.callbacks.distributions import Distributions
from tfnes.callbacks.graph_pictures import GraphPictures
from tfnes.callbacks.scalars import Scalars
from tfnes.callbacks.smoothing_gap import SmoothingGap
from tfnes.callbacks.split_evaluation import SplitEvaluation
from tfnes.callbacks.throughput import Throughput
from tfnes.callbacks.tree_pictures import TreePictures

__all__ = [
    "Distributions",
    "GraphPictures",
    "Scalars",
    "SmoothingGap",
    "SplitEvaluation",
    "Throughput",
    "TreePictures",
]
