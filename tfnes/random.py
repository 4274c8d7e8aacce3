"""Stateless random numbers: functions of (seed, step, stream, index) and no more.

Everything random in the library is drawn by a key. A key is a `[2]` int32 tensor; the
key of a stream is `fold_in(fold_in(seed, step), Stream.X)`. Numbers are keyed by what
they belong to (a global example index, a population member, a coordinate of a part) and
never by where they are computed, so padding, chunking, the number of replicas and a
restart do not change them.

The generator is Threefry-2x32 with 20 rounds (Salmon et al. 2011, "Parallel random
numbers: as easy as 1, 2, 3"), written in integer TensorFlow operations: eager, graph and
XLA give the same bits on every device.
"""

from __future__ import annotations

import enum

import tensorflow as tf

from tfnes.typing import Seed, Tensor, TensorLike

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


class Stream(enum.IntEnum):
    """The independent streams of one run."""

    PARAMETER_NOISE = 1
    LATENT_NOISE = 2
    DATA_ORDER = 3
    DROPOUT = 4
    INITIALIZATION = 5
    EVALUATION = 6
    SAMPLING = 7


def make_seed(seed: TensorLike) -> Seed:
    """Returns the `[2]` int32 key of an integer seed; a `[2]` key is returned as is.

    Example:

        >>> from tfnes import random
        >>> random.make_seed(7).shape
        TensorShape([2])
    """
    seed = tf.convert_to_tensor(seed)
    if seed.shape.rank == 1:
        return tf.cast(seed, tf.int32)
    return tf.bitcast(tf.stack(_words(seed)), tf.int32)


def fold_in(seed: Seed, data: TensorLike) -> Seed:
    """Returns a new key, a pseudo-random function of `seed` and the integer `data`."""
    x0, x1 = threefry2x32(make_seed(seed), *_words(data))
    return tf.bitcast(tf.stack([x0, x1]), tf.int32)


def _words(value: TensorLike) -> tuple[Tensor, Tensor]:
    """Returns the low and the high 32 bits of an integer as uint32."""
    value = tf.cast(value, tf.int64)
    mask = tf.constant(0xFFFFFFFF, tf.int64)
    high = tf.bitwise.right_shift(value, tf.constant(32, tf.int64))
    return (
        tf.cast(tf.bitwise.bitwise_and(value, mask), tf.uint32),
        tf.cast(tf.bitwise.bitwise_and(high, mask), tf.uint32),
    )


def stream_seed(seed: TensorLike, step: TensorLike, stream: Stream) -> Seed:
    """Returns the key of `stream` at update `step` of the run with `seed`."""
    return fold_in(fold_in(make_seed(seed), step), int(stream))


def threefry2x32(seed: Seed, x0: Tensor, x1: Tensor) -> tuple[Tensor, Tensor]:
    """Returns two uint32 tensors of random bits for the counters `x0`, `x1`.

    Args:
      seed: `[2]` int32 key.
      x0: uint32 counter word, any shape.
      x1: uint32 counter word, of a shape that broadcasts with `x0`.
    """
    key = tf.bitcast(seed, tf.uint32)
    keys = (key[0], key[1], tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(key[0], key[1]),
                                                   tf.constant(_PARITY, tf.uint32)))
    x0 = x0 + keys[0] + tf.zeros_like(x1)
    x1 = x1 + keys[1] + tf.zeros_like(x0)
    for block in range(5):
        for rotation in _ROTATIONS[block % 2]:
            x0 = x0 + x1
            x1 = tf.bitwise.bitwise_or(
                tf.bitwise.left_shift(x1, tf.constant(rotation, tf.uint32)),
                tf.bitwise.right_shift(x1, tf.constant(32 - rotation, tf.uint32)),
            )
            x1 = tf.bitwise.bitwise_xor(x1, x0)
        x0 = x0 + keys[(block + 1) % 3]
        x1 = x1 + keys[(block + 2) % 3] + tf.constant(block + 1, tf.uint32)
    return x0, x1


def uniform(
    shape: TensorLike,
    *,
    seed: Seed,
    index: Tensor | None = None,
    dtype: tf.DType = tf.float32,
) -> Tensor:
    """Returns uniform numbers in the open interval (0, 1).

    The number at `[b, i, j, ...]` depends on `seed`, `index[b]` and the coordinates
    (i, j, ...) only, not on the extents of `shape`: a padded tensor holds the numbers
    of the unpadded one. Up to three coordinates, each below 1024 where there are three,
    below 65536 where there are two.

    Args:
      shape: `[B, *parts]`, at least rank 1.
      seed: `[2]` int32.
      index: `[B]` integer key of each row; None: 0 ... B-1.
      dtype: float32 (23 random bits) or float64 (52 random bits).
    """
    shape = tf.convert_to_tensor(shape, tf.int32)
    rank = shape.shape[0]
    if rank is None or not 1 <= rank <= 4:
        raise ValueError(f"shape must have rank 1 to 4, known statically. Received: {shape}.")
    if index is None:
        index = tf.range(shape[0])
    x0 = tf.reshape(tf.cast(index, tf.uint32), [-1] + [1] * (rank - 1))
    bits = {1: 32, 2: 32, 3: 16, 4: 10}[rank]
    x1 = tf.zeros(shape, tf.uint32)
    for axis in range(1, rank):
        coordinate = tf.cast(tf.range(shape[axis]), tf.uint32)
        shift = tf.constant(bits * (rank - 1 - axis), tf.uint32)
        coordinate = tf.bitwise.left_shift(coordinate, shift)
        x1 += tf.reshape(coordinate, [-1] + [1] * (rank - 1 - axis))
    high, low = threefry2x32(make_seed(seed), x0, x1)
    mantissa = tf.cast(tf.bitwise.right_shift(high, tf.constant(9, tf.uint32)), dtype)
    if dtype == tf.float64:
        low = tf.cast(tf.bitwise.right_shift(low, tf.constant(3, tf.uint32)), dtype)
        return (mantissa + (low + 0.5) * 2.0**-29) * 2.0**-23
    return (mantissa + 0.5) * tf.constant(2.0**-23, dtype)


def gumbel(
    shape: TensorLike,
    *,
    seed: Seed,
    index: Tensor | None = None,
    dtype: tf.DType = tf.float32,
) -> Tensor:
    """Returns standard Gumbel(0, 1) noise, -log(-log(u)); keyed as `uniform`."""
    u = uniform(shape, seed=seed, index=index, dtype=dtype)
    return -tf.math.log(-tf.math.log(u))
