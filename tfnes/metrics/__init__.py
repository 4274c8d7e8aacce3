"""Metrics of predicted structures, computed in the graph, for `compile(metrics=...)`.

Their `update_state` takes a batch and what `model.predict_batch(batch)` returned.

* `attachment`: `UAS` and `LAS` of dependency trees, as the official UD scorer.
* `branching`: right- and left-branching trees, which need no model, and their UAS.
* `edges`: `EdgeF1` of undirected graphs.
* `means`: `OutputMean`, the mean of a per-example output.
"""

from tfnes.metrics.attachment import LAS, UAS
from tfnes.metrics.branching import (
    BranchingBaseline,
    left_branching_heads,
    right_branching_heads,
)
from tfnes.metrics.edges import EdgeF1
from tfnes.metrics.means import OutputMean

__all__ = [
    "LAS",
    "UAS",
    "BranchingBaseline",
    "EdgeF1",
    "OutputMean",
    "left_branching_heads",
    "right_branching_heads",
]
