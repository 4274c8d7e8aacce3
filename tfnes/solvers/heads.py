"""The two ways to write a dependency tree: heads of words, and indicators of arcs."""

from __future__ import annotations

import tensorflow as tf

from tfnes.typing import Tensor


def latent_from_heads(
    heads: Tensor, *, lengths: Tensor | None = None, dtype: tf.DType = tf.float32
) -> Tensor:
    """Returns the arc indicators of trees that are given by the head of each word.

    Args:
      heads: `[..., n]` integer; `heads[m - 1]` is the head of word m, 0 is the root.
      lengths: `[...]` number of real words; None: n. Padding gets no arc.
      dtype: of the result.

    Returns:
      `[..., n+1, n+1]` in {0, 1}, `[head, modifier]`.

    Example:

        >>> import tfnes
        >>> tfnes.solvers.latent_from_heads([2, 0]).numpy()
        array([[0., 0., 1.],
               [0., 0., 0.],
               [0., 1., 0.]], dtype=float32)
    """
    heads = tf.cast(heads, tf.int32)
    words = tf.shape(heads)[-1]
    if lengths is not None:
        real = tf.range(words) < tf.cast(lengths, tf.int32)[..., None]
        heads = tf.where(real, heads, -1)
    root = tf.fill(tf.concat([tf.shape(heads)[:-1], [1]], 0), -1)
    nodes = tf.range(words + 1)[:, None]
    latent = tf.cast(tf.concat([root, heads], -1)[..., None, :] == nodes, dtype)
    static = heads.shape[-1]
    static = None if static is None else static + 1
    return tf.ensure_shape(latent, [*heads.shape[:-1], static, static])


def heads_from_latent(latent: Tensor) -> Tensor:
    """Returns the head of each word of trees that are given by their arcs.

    Args:
      latent: `[..., n+1, n+1]` in {0, 1}, `[head, modifier]`, at most one head a word.

    Returns:
      `[..., n]` int32; 0 for the root, and for words without a head (padding).

    Example:

        >>> import tfnes
        >>> tfnes.solvers.heads_from_latent(
        ...     [[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).numpy()
        array([2, 0], dtype=int32)
    """
    latent = tf.convert_to_tensor(latent)
    nodes = tf.cast(tf.range(tf.shape(latent)[-2]), latent.dtype)
    heads = tf.reduce_sum(latent[..., 1:] * nodes[:, None], axis=-2)
    return tf.cast(tf.round(heads), tf.int32)
