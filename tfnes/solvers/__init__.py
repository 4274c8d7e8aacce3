"""Pure functions on tensors: batched, graph-safe solvers, usable on their own.

* `batching`: leading axes, few shapes, compilation (`use_jit_compile`).
* `edges`: undirected edges as an upper triangle and as a matrix.
* `elimination`: Gaussian elimination of graphs without subtraction.
* `matrix_tree`: sums over spanning trees and dependency trees, exact sampling.
"""

from tfnes.solvers.batching import use_jit_compile
from tfnes.solvers.matrix_tree import (
    directed_log_partition,
    directed_marginals,
    directed_sample,
)
from tfnes.solvers.matrix_tree import log_partition as spanning_tree_log_partition
from tfnes.solvers.matrix_tree import marginals as spanning_tree_marginals
from tfnes.solvers.matrix_tree import sample as sample_spanning_trees

__all__ = [
    "directed_log_partition",
    "directed_marginals",
    "directed_sample",
    "sample_spanning_trees",
    "spanning_tree_log_partition",
    "spanning_tree_marginals",
    "use_jit_compile",
]
