"""Sentences of unequal length as one array of tokens, without padding.

The tokens of a batch are ordered by time first, so the tokens at time t are one slice,
and the rows still running at time t are the first ones of the rows sorted by decreasing
length: a recurrent layer computes nothing for padding.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfnes.solvers import batching
from tfnes.typing import Tensor


class PackedLayout(NamedTuple):
    """Where the tokens of a padded `[B, T]` batch lie in the packed `[P]` order.

    Where shapes must be static (`tfnes.solvers.batching.use_static_shapes`), padding
    has packed places too, P = T B in the order of times and then rows: each sentence's
    tokens come before its padding, in both directions, and `index` leaves padding out.

    Attributes:
      rows: `[P]` int32, the example of each packed token.
      times: `[P]` int32, its position in the sentence.
      reverse: `[P]` int32, the packed place of the same sentence's mirrored token.
      counts: `[T]` int32, sentences still running at each time; never rises.
      index: `[B, T]` int32, 1 + the packed place of each token; 0 for padding.
    """

    rows: Tensor
    times: Tensor
    reverse: Tensor
    counts: Tensor
    index: Tensor

    @property
    def size(self) -> Tensor:
        """`[]` int32, the number P of tokens."""
        return tf.shape(self.rows)[0]

    def pack(self, padded: Tensor) -> Tensor:
        """Returns the tokens `[P, ...]` of `padded` `[B, T, ...]`."""
        return tf.gather_nd(padded, tf.stack([self.rows, self.times], axis=1))

    def unpack(self, packed: Tensor) -> Tensor:
        """Returns `[B, T, ...]` of `packed` `[P, ...]`, 0 in padding."""
        return tf.gather(with_padding_row(packed), self.index)


def with_padding_row(packed: Tensor) -> Tensor:
    """Returns `[1 + P, ...]`: a row of zeros, to which the padding points, first."""
    return tf.pad(packed, [[1, 0]] + [[0, 0]] * (packed.shape.rank - 1))


def pack_lengths(lengths: Tensor, max_length: int | Tensor) -> PackedLayout:
    """Returns the packed layout of sentences of the given lengths.

    Args:
      lengths: `[B]` int32, in any order, 0 allowed. At least one must be positive.
      max_length: T, at least the longest length.

    Example:

        >>> import tensorflow as tf
        >>> from tfnes.models.layers import pack_lengths
        >>> layout = pack_lengths(tf.constant([2, 3]), 4)
        >>> layout.rows.numpy().tolist(), layout.times.numpy().tolist()
        ([1, 0, 1, 0, 1], [0, 0, 1, 1, 2])
    """
    if batching.static_shapes():
        return _keep_padding(lengths, max_length)
    batch = tf.shape(lengths)[0]
    order = tf.argsort(lengths, direction="DESCENDING", stable=True)
    running = tf.gather(lengths, order)[None, :] > tf.range(max_length)[:, None]
    places = tf.cast(tf.where(running), tf.int32)
    times, rows = places[:, 0], tf.gather(order, places[:, 1])
    size = tf.shape(rows)[0]
    index = tf.tensor_scatter_nd_update(
        tf.zeros([batch, max_length], tf.int32),
        tf.stack([rows, times], axis=1),
        tf.range(1, size + 1),
    )
    mirrored = tf.gather(lengths, rows) - 1 - times
    return PackedLayout(
        rows=rows,
        times=times,
        reverse=tf.gather_nd(index, tf.stack([rows, mirrored], axis=1)) - 1,
        counts=tf.reduce_sum(tf.cast(running, tf.int32), axis=1),
        index=index,
    )


def _keep_padding(lengths: Tensor, max_length: int) -> PackedLayout:
    """Returns a layout in which every cell of the batch has a place."""
    batch = lengths.shape[0]
    places = np.arange(max_length * batch, dtype=np.int32).reshape(max_length, batch)
    times, rows = (axis.astype(np.int32) for axis in np.indices(places.shape))
    running = times < lengths
    mirrored = tf.where(running, lengths - 1 - times, times) * batch + rows
    return PackedLayout(
        rows=tf.constant(rows.reshape(-1)),
        times=tf.constant(times.reshape(-1)),
        reverse=tf.reshape(mirrored, [-1]),
        counts=tf.fill([max_length], batch),
        index=tf.transpose(tf.where(running, places + 1, 0)),
    )
