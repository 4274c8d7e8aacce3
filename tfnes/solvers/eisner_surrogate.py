"""The differentiable surrogate of Eisner's algorithm (Corro and Titov)."""

from __future__ import annotations

import tensorflow as tf

from tfnes.solvers.eisner_inside import inside_outside, prepare
from tfnes.typing import Tensor


def eisner_surrogate(
    log_potentials: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    lengths: Tensor | None = None,
    single_root: bool = True,
) -> Tensor:
    """Returns a soft projective tree: Eisner's algorithm with soft decisions.

    Every argmax over the splits of a span is a softmax: a split weighs
    w = softmax(splits / temperature), the value of the span is the mean sum_k w_k *
    splits_k, and the backward pass gives each split its share of the weight of the span
    in place of all to the best one. The result is a convex combination of trees: real
    columns sum to 1, as does the row of the root with `single_root`. It tends to
    `eisner` as the temperature goes to 0 where the best tree is unique, and is
    differentiable with respect to `log_potentials`. With Gumbel noise on the
    log-potentials it is the "differentiable perturb-and-parse" (DPP) relaxation.

    Conventions are those of `eisner`. Time O(n^3) for each sentence, forward and
    backward.

    Args:
      log_potentials: `[..., n+1, n+1]` float32 or float64, `[head, modifier]`.
      temperature: positive; of the softmax.
      lengths: `[...]` number of real words; None: n.
      single_root: whether exactly one word hangs on the root.

    Returns:
      `[..., n+1, n+1]` in [0, 1].

    Example:

        >>> import tensorflow as tf, tfnes
        >>> scores = tf.constant([[0.0, 2.0, 1.0], [0.0, 0.0, 5.0], [0.0, 4.0, 0.0]])
        >>> tfnes.solvers.eisner_surrogate(scores, temperature=0.1).numpy().round(2)
        array([[0., 1., 0.],
               [0., 0., 1.],
               [0., 0., 0.]], dtype=float32)

    References:
      Corro and Titov (2019), "Differentiable perturb-and-parse: semi-supervised parsing
      with a structured variational autoencoder", ICLR, section 5 and Algorithms 1-2.
    """
    scores, lengths, restore = prepare(log_potentials, lengths)
    arcs = inside_outside(
        scores,
        lengths,
        tf.cast(temperature, scores.dtype),
        rule=soft_mean,
        single_root=single_root,
    )
    return restore(arcs)


def soft_mean(splits: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
    """The rule of the surrogate: softmax weights, and the mean score under them."""
    weights = tf.nn.softmax(splits / temperature, axis=0)
    return tf.reduce_sum(weights * splits, axis=0), weights
