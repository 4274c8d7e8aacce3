"""Stateless random numbers: functions of (seed, step, stream, index) and no more.

Everything random in the library is drawn by a key. A key is a `[2]` int32 tensor; the
key of a stream is `fold_in(fold_in(seed, step), Stream.X)`. Numbers are keyed by what
they belong to (a global example index, a population member, a coordinate of a part) and
never by where they are computed, so padding, chunking, the number of replicas and a
restart do not change them.

The generator is Threefry-2x32 with 20 rounds (Salmon et al. 2011, "Parallel random
numbers: as easy as 1, 2, 3"), written in integer TensorFlow operations: eager, graph
and XLA give the same bits on every device.
"""

from __future__ import annotations

import enum
import math

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


def threefry2x32(
    seed: Seed, x0: Tensor, x1: Tensor, *, rounds: int = 20
) -> tuple[Tensor, Tensor]:
    """Returns two uint32 tensors of random bits for the counters `x0`, `x1`.

    Args:
      seed: `[2]` int32 key.
      x0: uint32 counter word, any shape.
      x1: uint32 counter word, of a shape that broadcasts with `x0`.
      rounds: 20 is the authors' choice; 13 the least that passed all their tests.
    """
    key = tf.bitcast(seed, tf.uint32)
    parity = tf.constant(_PARITY, tf.uint32)
    last = tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(key[0], key[1]), parity)
    keys = (key[0], key[1], last)
    x0 = x0 + keys[0] + tf.zeros_like(x1)
    x1 = x1 + keys[1] + tf.zeros_like(x0)
    for i in range(rounds):
        block = i // 4
        rotation = _ROTATIONS[block % 2][i % 4]
        x0 = x0 + x1
        x1 = tf.bitwise.bitwise_or(
            tf.bitwise.left_shift(x1, tf.constant(rotation, tf.uint32)),
            tf.bitwise.right_shift(x1, tf.constant(32 - rotation, tf.uint32)),
        )
        x1 = tf.bitwise.bitwise_xor(x1, x0)
        if i % 4 == 3:
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
        raise ValueError(
            f"shape must have rank 1 to 4, known statically. Received: {shape}."
        )
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


def normal_vector(size: TensorLike, *, seed: Seed, index: TensorLike = 0) -> Tensor:
    """Returns `[size]` independent standard normal numbers, float32.

    The number at position i is a function of (seed, index, i) alone. This is the
    fast source for long vectors: one fused kernel, several times the rate of
    `tf.random.stateless_normal` on CPU. Each number takes two words of Threefry-2x32
    with 13 rounds through the Box-Muller transform,

        w_i = sqrt(-2 log a_i) sin(2 pi b_i),   a_i, b_i uniform,

    with 23 bits of radius, so |w_i| < 5.65.

    Args:
      size: length; a tensor is compiled anew for every value that it takes.
      seed: `[2]` int32 key.
      index: integer scalar, for example the member of a population.

    Example:

        >>> from tfnes import random
        >>> w = random.normal_vector(100_000, seed=random.make_seed(0))
        >>> bool(abs(w.numpy().std() - 1.0) < 0.01)
        True
    """
    return _normal_vector(size, make_seed(seed), tf.cast(index, tf.int32))


# Compiled alone, never as a part of a larger XLA cluster: the compiler's choices, and
# so the last bits, are the same wherever the function is called.
@tf.function(jit_compile=True, autograph=False)
def _normal_vector(size: TensorLike, seed: Seed, index: Tensor) -> Tensor:
    position = tf.cast(tf.range(size), tf.uint32)
    other = tf.zeros_like(position) + tf.cast(index, tf.uint32)
    return _box_muller(*threefry2x32(seed, position, other, rounds=13))


def normal_rows(
    size: int,
    *,
    seed: Seed,
    stream: TensorLike,
    index: Tensor,
    offset: Tensor | None = None,
) -> Tensor:
    """Returns `[R, size]` independent standard normal numbers, float32.

    Row r is a function of (seed, stream, index[r], offset[r]) alone, wherever it is
    computed and beside whatever other rows. Made as those of `normal_vector`.

    Args:
      size: numbers in a row.
      seed: `[2]` int32 key.
      stream: `[S]` int32, S fixed; for example (layer, pair).
      index: `[R]` integers, for example the index of the example of each row.
      offset: `[R]` integers, the row's position within its index; None: 0.

    Example:

        >>> import tensorflow as tf
        >>> from tfnes import random
        >>> key = random.make_seed(0)
        >>> w = random.normal_rows(5, seed=key, stream=[1], index=tf.range(3))
        >>> again = random.normal_rows(5, seed=key, stream=[1], index=[2])
        >>> bool(tf.reduce_all(w[2] == again[0]))
        True
    """
    index = tf.convert_to_tensor(index)
    offset = tf.zeros_like(index) if offset is None else tf.convert_to_tensor(offset)
    rows = index.shape[0]
    counters = [tf.cast(value, tf.int32) for value in (index, offset)]
    if rows is None:
        # XLA compiles one kernel for each number of rows: few numbers.
        wanted = tf.shape(index)[0]
        more = round_up(wanted) - wanted
        counters = [tf.pad(value, [[0, more]]) for value in counters]
    stream = tf.cast(tf.stack(stream), tf.int32)
    numbers = _normal_rows(size, make_seed(seed), stream, *counters)
    return tf.ensure_shape(numbers[:wanted] if rows is None else numbers, [rows, size])


@tf.function(jit_compile=True, autograph=False)
def _normal_rows(
    size: int, seed: Seed, stream: Tensor, index: Tensor, offset: Tensor
) -> Tensor:
    for i in range(stream.shape[0]):
        words = threefry2x32(seed, tf.bitcast(stream[i], tf.uint32), _bits(i))
        seed = tf.bitcast(tf.stack(words), tf.int32)
    position = tf.cast(offset * size, tf.uint32)[:, None]
    position += tf.cast(tf.range(size), tf.uint32)
    other = tf.cast(index, tf.uint32)[:, None] + tf.zeros_like(position)
    return _box_muller(*threefry2x32(seed, position, other, rounds=13))


def _box_muller(first: Tensor, second: Tensor) -> Tensor:
    """Returns normal numbers, each made of two words."""
    radius = tf.sqrt(tf.abs(2.0 * tf.math.log(2.0 - _one_to_two(first))))
    # The sine of an angle in (-pi, pi), folded to (-pi/2, pi/2); the series is
    # exact to float32 there, and bit 0, which the angle does not use, is the sign.
    turn = tf.abs(_one_to_two(second) - 1.5)
    x = tf.minimum(turn, 0.5 - turn) * (2.0 * math.pi)
    y = x * x
    sine = x * (1 + y * (-1 / 6 + y * (1 / 120 + y * (-1 / 5040 + y / 362880))))
    sign = tf.bitwise.left_shift(second, _bits(31))
    result = tf.bitcast(radius * sine, tf.uint32)
    return tf.bitcast(tf.bitwise.bitwise_xor(result, sign), tf.float32)


def round_up(size: Tensor) -> Tensor:
    """Returns `size` rounded up to 8 ... 15 times a power of two."""
    exponent = tf.math.log(tf.cast(tf.maximum(size, 8), tf.float64)) / tf.math.log(
        tf.constant(2.0, tf.float64)
    )
    unit = tf.bitwise.left_shift(1, tf.maximum(tf.cast(exponent, tf.int32) - 3, 0))
    return (size + unit - 1) // unit * unit


def _bits(value: int) -> Tensor:
    return tf.constant(value, tf.uint32)


def _one_to_two(word: Tensor) -> Tensor:
    """Returns numbers in [1, 2) of the 23 high bits."""
    word = tf.bitwise.right_shift(word, _bits(9))
    return tf.bitcast(tf.bitwise.bitwise_or(word, _bits(0x3F800000)), tf.float32)
