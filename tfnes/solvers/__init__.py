"""Pure functions on tensors: batched, graph-safe solvers, usable on their own.

* `batching`: leading axes, few shapes, compilation (`use_jit_compile`).
* `edges`: undirected edges as an upper triangle and as a matrix.
* `elimination`, `laplacian`: the two ways of summing over trees.
* `matrix_tree`: sums over spanning trees and dependency trees, exact sampling.
* `prim`: maximum spanning trees.
* `top_k`: subsets of k parts: the best, sums over all, exact sampling.
* `viterbi`: linear chains: the best, sums over all, exact sampling.
* `linear_assignment`: the best permutation.
* `active_set`: SparseMAP, the projection onto the hull of all structures.
* `spanning_tree_chain`: a Markov chain over spanning trees.
* `sinkhorn`: doubly stochastic matrices, a relaxation of permutations.
* `eisner`: the best projective dependency tree.
* `chu_liu_edmonds`: the best dependency tree, projective or not.
* `heads`: dependency trees as heads of words and as indicators of arcs.
* `feasibility`: reports scores that no dependency tree answers.
* `tree_batching`: batches of sentences: few compiled shapes, chunks.
* `tables`: reading and writing tables inside loops.
* `eisner_inside`: sums over projective trees: log-partition function, marginals.
* `eisner_sampling`: exact samples of projective trees.
* `eisner_surrogate`, `eisner_sweeps`: the differentiable surrogate of Corro and Titov.
"""

from tfnes.solvers.active_set import sparsemap
from tfnes.solvers.batching import use_jit_compile
from tfnes.solvers.chu_liu_edmonds import chu_liu_edmonds
from tfnes.solvers.eisner import eisner
from tfnes.solvers.eisner_inside import projective_log_partition, projective_marginals
from tfnes.solvers.eisner_sampling import sample_projective
from tfnes.solvers.eisner_surrogate import eisner_surrogate
from tfnes.solvers.heads import heads_from_latent, latent_from_heads
from tfnes.solvers.linear_assignment import linear_assignment
from tfnes.solvers.matrix_tree import (
    directed_log_partition,
    directed_marginals,
    directed_sample,
)
from tfnes.solvers.matrix_tree import log_partition as spanning_tree_log_partition
from tfnes.solvers.matrix_tree import marginals as spanning_tree_marginals
from tfnes.solvers.matrix_tree import sample as sample_spanning_trees
from tfnes.solvers.prim import maximum_spanning_tree
from tfnes.solvers.sinkhorn import sinkhorn
from tfnes.solvers.spanning_tree_chain import spanning_tree_chain
from tfnes.solvers.top_k import log_partition as subset_log_partition
from tfnes.solvers.top_k import marginals as subset_marginals
from tfnes.solvers.top_k import sample as sample_subsets
from tfnes.solvers.top_k import top_k
from tfnes.solvers.viterbi import log_partition as chain_log_partition
from tfnes.solvers.viterbi import marginals as chain_marginals
from tfnes.solvers.viterbi import sample as sample_chains
from tfnes.solvers.viterbi import viterbi

__all__ = [
    "chain_log_partition",
    "chain_marginals",
    "chu_liu_edmonds",
    "directed_log_partition",
    "directed_marginals",
    "directed_sample",
    "eisner",
    "eisner_surrogate",
    "heads_from_latent",
    "latent_from_heads",
    "linear_assignment",
    "maximum_spanning_tree",
    "projective_log_partition",
    "projective_marginals",
    "sample_chains",
    "sample_projective",
    "sample_spanning_trees",
    "sample_subsets",
    "sinkhorn",
    "spanning_tree_chain",
    "spanning_tree_log_partition",
    "spanning_tree_marginals",
    "sparsemap",
    "subset_log_partition",
    "subset_marginals",
    "top_k",
    "use_jit_compile",
    "viterbi",
]
