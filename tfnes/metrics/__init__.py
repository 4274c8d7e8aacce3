"""Metrics of predicted structures, computed in the graph, for `compile(metrics=...)`.

Their `update_state` takes a batch and what `model.predict_batch(batch)` returned.

* `attachment`: `UAS` and `LAS` of dependency trees, as the official UD scorer.
* `branching`: right- and left-branching trees, which need no model, and their UAS.
* `codes`: `UsedCodes`, how many categories a categorical latent uses.
* `edges`: `EdgeF1`, `EdgePrecision` and `EdgeRecall` of undirected graphs.
* `graph_baselines`: what graphs and trajectories score without any model.
* `image_baselines`: what binary images score without any model.
* `means`: `OutputMean`, the mean of a per-example output.
"""

from tfnes.metrics.attachment import LAS, UAS
from tfnes.metrics.branching import (
    BranchingBaseline,
    left_branching_heads,
    right_branching_heads,
)
from tfnes.metrics.codes import UsedCodes
from tfnes.metrics.edges import EdgeF1, EdgePrecision, EdgeRecall
from tfnes.metrics.graph_baselines import (
    CopyLastFrame,
    RandomGraph,
    copy_last_frame_elbo,
    random_tree_f1,
)
from tfnes.metrics.image_baselines import cluster_neg_elbo, mean_image_neg_elbo
from tfnes.metrics.means import OutputMean

__all__ = [
    "LAS",
    "UAS",
    "BranchingBaseline",
    "CopyLastFrame",
    "EdgeF1",
    "EdgePrecision",
    "EdgeRecall",
    "OutputMean",
    "RandomGraph",
    "UsedCodes",
    "cluster_neg_elbo",
    "copy_last_frame_elbo",
    "left_branching_heads",
    "mean_image_neg_elbo",
    "random_tree_f1",
    "right_branching_heads",
]
