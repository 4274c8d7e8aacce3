"""The losses of a parser on sentences with gold trees, `[B]` each."""

from __future__ import annotations

import tensorflow as tf

from tfnes.typing import Batch, Tensor


def real_heads(batch: Batch) -> Tensor:
    """Returns the gold heads, `[B, L]`, 0 in padding."""
    return tf.where(_words(batch), batch["heads"], 0)


def arc_loss(scores: Tensor, batch: Batch) -> Tensor:
    """Returns the mean over words of -log softmax over heads of the arc scores.

    All heads 0 ... n compete, the word itself too, as in the authors' code.

    Args:
      scores: `[B, L + 1, L + 1]`, `[head, modifier]`.
      batch: with `heads` and `lengths`.
    """
    nodes = tf.pad(_words(batch), [[0, 0], [1, 0]], constant_values=True)
    # [B, modifier, head]: one distribution over heads for each word.
    by_modifier = tf.transpose(scores[:, :, 1:], [0, 2, 1])
    by_modifier = tf.where(nodes[:, None, :], by_modifier, scores.dtype.min)
    return _mean_cross_entropy(real_heads(batch), by_modifier, _words(batch))


def relation_loss(scores: Tensor, batch: Batch) -> Tensor:
    """Returns the mean over words of -log softmax of the relation scores.

    Args:
      scores: `[B, L, R]`, of the arcs from the gold heads.
      batch: with `relations` and `lengths`.
    """
    return _mean_cross_entropy(batch["relations"], scores, _words(batch))


def _words(batch: Batch) -> Tensor:
    return tf.sequence_mask(batch["lengths"], tf.shape(batch["words"])[1])


def _mean_cross_entropy(labels: Tensor, logits: Tensor, mask: Tensor) -> Tensor:
    """Returns the mean over the masked words of each row; 0 without words."""
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.where(mask, labels, 0), logits=logits
    )
    total = tf.reduce_sum(tf.where(mask, losses, 0), axis=1)
    count = tf.reduce_sum(tf.cast(mask, losses.dtype), axis=1)
    return total / tf.maximum(count, 1)
