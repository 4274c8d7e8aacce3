"""The latent structures: which latents exist, and which is the best one.

* `structure`: the base class, the optional abilities (Protocols), `require_ability`.
* `inference`: entropy, KL and log-probability from a partition function, once.
* `categorical`: one of K categories.
* `black_box`: any solver written in Python.
* `distribution`: a structure's law as a `tfp.distributions.Distribution` (lazy).
* `linear_chain`: sequences of states.
* `matching`: permutations.
* `spanning_tree`: spanning trees of an undirected graph.
* `subset`: subsets of k of K parts.
* `dependency_tree`: dependency trees: projective or not, one root or several.
"""

from tfnes.structures.black_box import BlackBox
from tfnes.structures.categorical import Categorical
from tfnes.structures.dependency_tree import DependencyTree
from tfnes.structures.inference import ExactInference
from tfnes.structures.linear_chain import LinearChain
from tfnes.structures.matching import Matching
from tfnes.structures.spanning_tree import SpanningTree
from tfnes.structures.structure import (
    HasEnumeration,
    HasMarginals,
    HasRelaxedArgmax,
    HasSampler,
    Structure,
    require_ability,
)
from tfnes.structures.subset import Subset

__all__ = [
    "BlackBox",
    "Categorical",
    "DependencyTree",
    "ExactInference",
    "HasEnumeration",
    "HasMarginals",
    "HasRelaxedArgmax",
    "HasSampler",
    "LinearChain",
    "Matching",
    "SpanningTree",
    "Structure",
    "Subset",
    "require_ability",
]
