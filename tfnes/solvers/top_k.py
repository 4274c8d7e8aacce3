"""Subsets of k of K parts: the best one, sums over all of them, exact samples.

Sums are products of polynomials 1 + exp(log_potentials[i]) t, multiplied pairwise like
a tournament in log-space and cut at degree k: O(K k) time up to K = k, O(K k log K) at
most, in log2(K) steps. No loop over parts, so they differentiate (twice) at little
cost.
"""

from __future__ import annotations

import tensorflow as tf

from tfnes import errors, random
from tfnes.checks import check_integer
from tfnes.solvers import batching
from tfnes.typing import Seed, Tensor

_FORBIDDEN = -1e30


def top_k(log_potentials: Tensor, *, k: int, lengths: Tensor | None = None) -> Tensor:
    """Returns the indicator of the k largest of `[..., K]`, `[..., K]` in {0, 1}.

    Among equals the lower index wins. With fewer than k real parts all of them are
    chosen. -inf forbids a part (NaN is read as -inf): it is chosen only if it must be.

    Args:
      log_potentials: `[..., K]` float32 or float64.
      k: how many parts.
      lengths: `[...]` real parts of each example (the first ones); None: K.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> tfnes.solvers.top_k(tf.constant([0.5, 2.0, 1.0]), k=2).numpy()
        array([0., 1., 1.], dtype=float32)
    """
    k = check_integer("k", k, minimum=0)
    flat, sizes, unflatten = _flatten(log_potentials, lengths)
    parts = tf.shape(flat)[-1]
    real = tf.range(parts) < sizes[:, None]
    lowest = flat.dtype.min
    scores = tf.where(flat > lowest, tf.minimum(flat, flat.dtype.max), lowest)
    scores = tf.where(real, scores, -float("inf"))
    _, index = tf.math.top_k(scores, tf.minimum(k, parts), sorted=False)
    chosen = tf.reduce_any(index[..., None] == tf.range(parts), axis=-2)
    return tf.stop_gradient(unflatten(tf.cast(chosen & real, flat.dtype)))


def log_partition(
    log_potentials: Tensor, *, k: int, lengths: Tensor | None = None
) -> Tensor:
    """Returns log of the sum over k-subsets of exp(their score), `[...]`.

    Arguments as for `top_k`; K must be static. -inf where every subset has a forbidden
    part.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> round(float(tf.exp(tfnes.solvers.subset_log_partition(tf.zeros([5]), k=2))))
        10
    """
    k = check_integer("k", k, minimum=0)
    flat, sizes, unflatten = _flatten(log_potentials, lengths)
    return unflatten(_log_partition(flat, sizes, k))


def marginals(
    log_potentials: Tensor, *, k: int, lengths: Tensor | None = None
) -> Tensor:
    """Returns p(part in subset), `[..., K]`, the gradient of `log_partition`."""
    k = check_integer("k", k, minimum=0)
    flat, sizes, unflatten = _flatten(log_potentials, lengths)
    with tf.GradientTape() as tape:
        tape.watch(flat)
        total = _log_partition(flat, sizes, k)
    return unflatten(tf.clip_by_value(tape.gradient(total, flat), 0.0, 1.0))


def sample(
    log_potentials: Tensor,
    *,
    k: int,
    num_samples: int,
    seed: Seed,
    lengths: Tensor | None = None,
) -> Tensor:
    """Returns `[num_samples, ..., K]` exact samples of p(subset) = exp(score) / Z.

    It walks down the tournament of `log_partition`: at each pair the number of parts on
    the left is drawn given the number on both sides.
    """
    k = check_integer("k", k, minimum=0)
    num_samples = check_integer("num_samples", num_samples, minimum=1)
    flat, sizes, unflatten = _flatten(log_potentials, lengths)
    levels = _tournament(flat, sizes, k)
    count = tf.minimum(k, sizes)[:, None, None]
    count = tf.broadcast_to(count, [tf.shape(flat)[0], 1, num_samples])
    for depth, pairs in enumerate(reversed(levels[:-1])):
        left, right = pairs[:, 0::2], pairs[:, 1::2]
        degree = pairs.shape[-1]
        rest = count[..., None] - tf.range(degree)
        logits = left[:, :, None] + tf.gather(
            right, tf.clip_by_value(rest, 0, degree - 1), axis=2, batch_dims=2
        )
        logits = tf.where((rest >= 0) & (rest < degree), logits, 4 * _FORBIDDEN)
        noise = random.gumbel(
            tf.shape(logits), seed=random.fold_in(seed, depth), dtype=flat.dtype
        )
        on_left = tf.argmax(logits + noise, -1, output_type=tf.int32)
        count = tf.stack([on_left, count - on_left], axis=2)
        count = tf.reshape(count, [-1, 2 * left.shape[1], num_samples])
    chosen = tf.cast(count[:, : flat.shape[1]], flat.dtype)
    return batching.samples_first(unflatten(chosen), -1)


def log_count(parts: Tensor, k: int, dtype: tf.DType) -> Tensor:
    """Returns log of the number of subsets of min(k, parts) of `parts`."""
    parts = tf.cast(parts, tf.float64)
    chosen = tf.minimum(tf.cast(k, tf.float64), parts)
    result = (
        tf.math.lgamma(parts + 1)
        - tf.math.lgamma(chosen + 1)
        - tf.math.lgamma(parts - chosen + 1)
    )
    return tf.cast(result, dtype)


def _flatten(log_potentials, lengths):
    log_potentials = tf.convert_to_tensor(log_potentials)
    parts = log_potentials.shape[-1]
    parts = tf.shape(log_potentials)[-1] if parts is None else parts
    return batching.flatten(log_potentials, lengths, parts_rank=1, full_length=parts)


def _tournament(flat: Tensor, lengths: Tensor, k: int) -> list[Tensor]:
    """Returns log-coefficients `[B, nodes, degree + 1]`, leaves first, root last."""
    parts = flat.shape[1]
    if parts is None:
        raise errors.DataError(
            "Sums over subsets need a number of parts that is known while the graph is "
            f"built. Received: {flat.shape}. Use tf.ensure_shape before."
        )
    real = (tf.range(parts) < lengths[:, None]) & (flat > _FORBIDDEN)
    leaves = tf.where(real, flat, _FORBIDDEN)
    size = 1 << max(parts - 1, 0).bit_length()
    leaves = tf.pad(leaves, [[0, 0], [0, size - parts]], constant_values=_FORBIDDEN)
    nodes = tf.stack([tf.zeros_like(leaves), leaves], axis=-1)
    levels = [nodes]
    while nodes.shape[1] > 1:
        nodes = _multiply(nodes[:, 0::2], nodes[:, 1::2], k)
        levels.append(nodes)
    return levels


def _multiply(left: Tensor, right: Tensor, k: int) -> Tensor:
    """Returns the product of polynomials given by log-coefficients, up to degree k."""
    size = left.shape[-1]
    degree = min(2 * (size - 1), max(k, 1))
    rest = tf.range(degree + 1)[:, None] - tf.range(size)
    terms = left[..., None, :] + tf.gather(
        right, tf.clip_by_value(rest, 0, size - 1), axis=-1
    )
    terms = tf.where((rest >= 0) & (rest < size), terms, 4 * _FORBIDDEN)
    return tf.maximum(tf.reduce_logsumexp(terms, axis=-1), _FORBIDDEN)


def _log_partition(flat: Tensor, lengths: Tensor, k: int) -> Tensor:
    root = _tournament(flat, lengths, k)[-1][:, 0]
    total = tf.gather(root, tf.minimum(k, lengths), axis=1, batch_dims=1)
    return tf.where(total > 0.1 * _FORBIDDEN, total, -float("inf"))
