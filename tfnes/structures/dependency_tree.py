"""Dependency trees: projective or not, one word on the root or several."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import tensorflow as tf

from tfnes import registration
from tfnes.checks import check_flag
from tfnes.solvers import matrix_tree
from tfnes.solvers.chu_liu_edmonds import chu_liu_edmonds
from tfnes.solvers.eisner import eisner
from tfnes.solvers.eisner_inside import projective_log_partition, projective_marginals
from tfnes.solvers.eisner_sampling import sample_projective
from tfnes.solvers.eisner_surrogate import eisner_surrogate
from tfnes.solvers.feasibility import check_heads
from tfnes.solvers.heads import heads_from_latent, latent_from_heads
from tfnes.structures.inference import ExactInference
from tfnes.structures.structure import Structure
from tfnes.typing import Seed, Tensor


@registration.register("structure")
class DependencyTree(ExactInference, Structure):
    """Trees over n words and a root: z[head, modifier] = 1 for each arc.

    Latents and log-potentials are `[..., n+1, n+1]`, `[head, modifier]`; node 0 is the
    root, words are 1 ... n, and `lengths` counts the words. Column 0 and the diagonal
    are ignored and are 0 in every latent. -inf forbids an arc.

    | trees | argmax | number of trees |
    |---|---|---|
    | projective, single root | Eisner, O(n^3) | C(3n-2, n-1) / n |
    | projective, several roots | Eisner, O(n^3) | C(3n, n) / (2n+1) |
    | non-projective, single root | Chu-Liu-Edmonds, O(n^2) | n^(n-1) |
    | non-projective, several roots | Chu-Liu-Edmonds, O(n^2) | (n+1)^(n-1) |

    Of equally good trees the same one is returned every time (projective: the one with
    the leftmost splits). `lengths` of 0 gives the empty tree, all zeros. Sums and exact
    samples take the inside-outside algorithm (projective) or the matrix-tree theorem,
    O(n^3) both. Either rule for the root is exact everywhere: in the best tree, in sums
    and in samples.

    Args:
      projective: whether arcs must not cross (drawn above the sentence, with the root
        at its left).
      single_root: whether exactly one word hangs on the root, as in Universal
        Dependencies; otherwise at least one.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> structure = tfnes.structures.DependencyTree()
        >>> scores = tf.constant([[0.0, 2.0, 1.0], [0.0, 0.0, 5.0], [0.0, 4.0, 0.0]])
        >>> structure.argmax(scores).numpy()
        array([[0., 1., 0.],
               [0., 0., 1.],
               [0., 0., 0.]], dtype=float32)

    References:
      Eisner (1996), COLING; Tarjan (1977), Networks 7; Yuret (1998), "Discovery of
      linguistic relations using lexical attraction", Theorem 2 (the counts); Koo et al.
      (2007), "Structured prediction models via the matrix-tree theorem", EMNLP.
    """

    parts_rank = 2

    def __init__(self, *, projective: bool = True, single_root: bool = True) -> None:
        self.projective = check_flag("DependencyTree.projective", projective)
        self.single_root = check_flag("DependencyTree.single_root", single_root)

    def get_config(self) -> dict[str, Any]:
        return {"projective": self.projective, "single_root": self.single_root}

    def heads(
        self,
        log_potentials: Tensor,
        *,
        lengths: Tensor | None = None,
        validate: bool = False,
    ) -> Tensor:
        """Returns the heads of the best tree, `[..., n]` int32, 0 for the root.

        Args:
          log_potentials: `[..., n+1, n+1]`, float32 or float64.
          lengths: `[...]` number of real words; None: n.
          validate: whether to report scores that have no right answer. Without it NaN
            and infeasible instances give some tree.

        Raises:
          DataError: with `validate`, if a score is NaN or +inf, or if every tree has a
            forbidden arc; inside a graph `tf.errors.InvalidArgumentError`.
        """
        solver = eisner if self.projective else chu_liu_edmonds
        log_potentials = tf.convert_to_tensor(log_potentials)
        heads = solver(log_potentials, lengths=lengths, single_root=self.single_root)
        if not validate:
            return heads
        kind = "projective " if self.projective else ""
        rule = (
            f"{kind}tree with one word on the root"
            if self.single_root
            else f"{kind}tree"
        )
        return check_heads(log_potentials, heads, lengths=lengths, rule=rule)

    def argmax(self, log_potentials, *, lengths=None, validate=False):
        log_potentials = tf.convert_to_tensor(log_potentials)
        heads = self.heads(log_potentials, lengths=lengths, validate=validate)
        return latent_from_heads(heads, lengths=lengths, dtype=log_potentials.dtype)

    def log_count(self, log_potentials, *, lengths=None):
        log_potentials = tf.convert_to_tensor(log_potentials)
        shape = tf.shape(log_potentials)
        if lengths is None:
            lengths = tf.fill(shape[:-2], shape[-1] - 1)
        # The logarithms cancel: they are formed in float64.
        n = tf.cast(tf.maximum(lengths, 1), tf.float64)
        if self.projective and self.single_root:
            result = _log_binomial(3 * n - 2, n - 1) - tf.math.log(n)
        elif self.projective:
            result = _log_binomial(3 * n, n) - tf.math.log(2 * n + 1)
        else:
            base = n if self.single_root else n + 1
            result = (n - 1) * tf.math.log(base)
        return tf.cast(result, log_potentials.dtype)

    def contains(self, latent, *, lengths=None):
        latent = tf.convert_to_tensor(latent)
        nodes = tf.shape(latent)[-1]
        node = tf.range(nodes)
        if lengths is None:
            lengths = tf.fill(tf.shape(latent)[:-2], nodes - 1)
        lengths = tf.cast(lengths, tf.int32)[..., None]
        word = (node > 0) & (node <= lengths)
        binary = tf.reduce_all((latent == 0) | (latent == 1), axis=[-2, -1])
        one_head = tf.reduce_sum(latent, axis=-2) == tf.cast(word, latent.dtype)
        inside = (latent == 0) | (node <= lengths)[..., None]
        valid = binary & tf.reduce_all(one_head, -1) & tf.reduce_all(inside, [-2, -1])
        heads = heads_from_latent(tf.where(valid[..., None, None], latent, 0.0))
        valid &= _reach_root(heads)
        if self.single_root:
            roots = tf.reduce_sum(latent[..., 0, :], axis=-1)
            valid &= roots == tf.cast(tf.minimum(lengths[..., 0], 1), latent.dtype)
        if self.projective:
            valid &= ~_any_crossing(heads, word[..., 1:])
        return valid

    def log_partition(self, log_potentials: Tensor, *, lengths=None) -> Tensor:
        """Returns log sum over trees of exp <z, log_potentials>, `[...]`.

        Inside algorithm (projective, O(n^3)) or matrix-tree theorem (O(n^3)).
        """
        solver = (
            projective_log_partition
            if self.projective
            else matrix_tree.directed_log_partition
        )
        return solver(log_potentials, lengths=lengths, single_root=self.single_root)

    def marginals(self, log_potentials: Tensor, *, lengths=None) -> Tensor:
        """Returns the probability of each arc; the gradient of `log_partition`."""
        solver = (
            projective_marginals if self.projective else matrix_tree.directed_marginals
        )
        return solver(log_potentials, lengths=lengths, single_root=self.single_root)

    def sample(
        self,
        log_potentials: Tensor,
        *,
        num_samples: int,
        seed: Seed,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Returns `[num_samples, ..., n+1, n+1]` exact samples of exp(score) / Z."""
        if not self.projective:
            return matrix_tree.directed_sample(
                log_potentials,
                num_samples=num_samples,
                seed=seed,
                lengths=lengths,
                single_root=self.single_root,
            )
        log_potentials = tf.convert_to_tensor(log_potentials)
        heads = sample_projective(
            log_potentials,
            num_samples=num_samples,
            seed=seed,
            lengths=lengths,
            single_root=self.single_root,
        )
        return latent_from_heads(heads, lengths=lengths, dtype=log_potentials.dtype)

    def relaxed_argmax(
        self, log_potentials: Tensor, *, temperature: float, lengths=None
    ) -> Tensor:
        """Returns a soft tree, differentiable, in the convex hull of the trees.

        Projective: the surrogate of Corro and Titov (2019). Non-projective: the
        marginals of log_potentials / temperature (Paulus et al., 2020).
        """
        log_potentials = tf.convert_to_tensor(log_potentials)
        if not self.projective:
            temperature = tf.cast(temperature, log_potentials.dtype)
            return self.marginals(log_potentials / temperature, lengths=lengths)
        return eisner_surrogate(
            log_potentials,
            temperature=temperature,
            lengths=lengths,
            single_root=self.single_root,
        )

    def enumerate(self, num_nodes: int) -> np.ndarray:
        """Returns all trees of `num_nodes` words, `[|Z|, n+1, n+1]`; for n <= 6."""
        heads = itertools.product(range(num_nodes + 1), repeat=num_nodes)
        heads = np.array(list(heads), np.int32)
        heads = heads.reshape([(num_nodes + 1) ** num_nodes, num_nodes])
        latent = latent_from_heads(heads)
        return latent.numpy()[self.contains(latent).numpy()]


def _log_binomial(n: Tensor, k: Tensor) -> Tensor:
    return tf.math.lgamma(n + 1) - tf.math.lgamma(k + 1) - tf.math.lgamma(n - k + 1)


def _reach_root(heads: Tensor) -> Tensor:
    """Returns whether every word has the root as an ancestor, `[...]` bool.

    The pointers to ancestors are doubled log2(n) times.
    """
    root = tf.zeros(tf.concat([tf.shape(heads)[:-1], [1]], 0), tf.int32)
    ancestors = tf.concat([root, heads], axis=-1)
    rank = heads.shape.rank

    def double(reach: Tensor, ancestors: Tensor) -> tuple[Tensor, Tensor]:
        ancestors = tf.gather(ancestors, ancestors, batch_dims=rank - 1, axis=-1)
        return 2 * reach, ancestors

    _, ancestors = tf.while_loop(
        lambda reach, _: reach < tf.shape(heads)[-1],
        double,
        (1, ancestors),
        shape_invariants=(tf.TensorShape([]), ancestors.shape),
    )
    return tf.reduce_all(ancestors == 0, axis=-1)


def _any_crossing(heads: Tensor, word: Tensor) -> Tensor:
    """Returns whether two arcs of each example cross, `[...]` bool."""
    modifiers = tf.range(1, tf.shape(heads)[-1] + 1)
    low, high = tf.minimum(heads, modifiers), tf.maximum(heads, modifiers)
    crossing = (low[..., :, None] < low[..., None, :]) & (
        low[..., None, :] < high[..., :, None]
    )
    crossing &= high[..., :, None] < high[..., None, :]
    crossing &= word[..., :, None] & word[..., None, :]
    return tf.reduce_any(crossing, axis=[-2, -1])
