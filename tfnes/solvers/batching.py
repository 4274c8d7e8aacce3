"""Leading axes, padding to few shapes, and compilation, once for all solvers.

A solver's core is a function of `[B, *parts]` and `[B]` int32 lengths. `flatten` makes
that of any leading axes, `compiled` runs the core as a graph. XLA compiles once for each
shape; to bound their number, a batch size that is unknown while the caller's graph is
built is rounded up at run-time (to a multiple of 8 up to 128, of 128 above). Static
dimensions are used as they are.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from tfnes.typing import Tensor

_JIT_COMPILE = True


def jit_compile() -> bool:
    """Returns whether solvers are compiled with XLA (the default)."""
    return _JIT_COMPILE


@contextlib.contextmanager
def use_jit_compile(enabled: bool) -> Iterator[None]:
    """Switches XLA on or off for the solvers that are called, or traced, inside.

    XLA compiles once for each shape (0.2 to 2 seconds) and is 2 to 10 times faster
    after; without it one trace serves every shape. Results are the same.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> with tfnes.solvers.use_jit_compile(False):
        ...     tree = tfnes.solvers.maximum_spanning_tree(tf.constant([3.0, 1.0, 2.0]))
        >>> tree.numpy()
        array([1., 0., 1.], dtype=float32)
    """
    global _JIT_COMPILE
    before = _JIT_COMPILE
    _JIT_COMPILE = enabled
    try:
        yield
    finally:
        _JIT_COMPILE = before


def compiled(core: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `core` as a graph function, compiled with XLA unless switched off.

    Positional arguments are tensors; keyword arguments are Python constants.
    """

    @functools.cache
    def graph(jit: bool, constants: tuple) -> Callable[..., Any]:
        return tf.function(
            functools.partial(core, **dict(constants)),
            jit_compile=True if jit else None,
            reduce_retracing=not jit,
            autograph=False,
        )

    @functools.wraps(core)
    def call(*tensors, **constants):
        return graph(_JIT_COMPILE, tuple(sorted(constants.items())))(*tensors)

    return call


def flatten(
    tensor: Tensor, lengths: Tensor | None, *, parts_rank: int, full_length: Any
) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """Merges the leading axes into one batch axis of few possible sizes.

    Args:
      tensor: `[..., *parts]`.
      lengths: `[...]` or broadcastable to it; None: `full_length` everywhere.
      parts_rank: number of trailing part axes.
      full_length: int or scalar tensor, number of nodes of an unpadded example.

    Returns:
      `[B, *parts]`, `[B]` int32 lengths in 0 ... full_length, and a function that gives
      a result `[B, *any]` its leading axes `[..., *any]` back. Rows that were added
      have length 0.
    """
    tensor = tf.convert_to_tensor(tensor)
    split = tensor.shape.rank - parts_rank
    shape = tf.shape(tensor)
    leading = shape[:split]
    flat = tf.reshape(tensor, tf.concat([[-1], shape[split:]], 0))
    static_parts = tensor.shape[split:]
    rows = tensor.shape[:split].num_elements()
    flat = tf.ensure_shape(flat, [rows, *static_parts])
    if lengths is None:
        flat_lengths = tf.fill([tf.shape(flat)[0]], tf.cast(full_length, tf.int32))
    else:
        flat_lengths = tf.reshape(
            tf.broadcast_to(tf.cast(lengths, tf.int32), leading), [-1]
        )
        flat_lengths = tf.clip_by_value(flat_lengths, 0, tf.cast(full_length, tf.int32))
    if rows is None and _JIT_COMPILE:
        rows = tf.shape(flat)[0]
        step = tf.where(rows > 128, 128, 8)
        extra = -rows % step
        flat = tf.pad(flat, [[0, extra]] + [[0, 0]] * parts_rank)
        flat_lengths = tf.pad(flat_lengths, [[0, extra]])
    static_leading = tensor.shape[:split]

    def unflatten(result: Tensor) -> Tensor:
        static = result.shape[1:]
        result = result[: tf.reduce_prod(leading)]
        result = tf.reshape(result, tf.concat([leading, tf.shape(result)[1:]], 0))
        return tf.ensure_shape(result, static_leading.concatenate(static))

    return flat, flat_lengths, unflatten


def in_chunks(
    core: Callable[[Tensor, Tensor], Tensor],
    tensor: Tensor,
    lengths: Tensor,
    *,
    chunk: int = 128,
) -> Tensor:
    """Runs `core` over chunks of a large batch, so that its tables stay in cache.

    For use inside a compiled function on `[B, *parts]` and `[B]`. On an accelerator,
    and where B is at most `chunk` or unknown, it is one call.
    """
    rows = tensor.shape[0]
    if rows is None or rows <= chunk or tf.config.list_logical_devices("GPU"):
        return core(tensor, lengths)
    extra = -rows % chunk
    tensor = tf.pad(tensor, [[0, extra]] + [[0, 0]] * (tensor.shape.rank - 1))
    lengths = tf.pad(lengths, [[0, extra]])
    count = (rows + extra) // chunk
    tensor = tf.reshape(tensor, [count, chunk, *tensor.shape[1:]])
    lengths = tf.reshape(lengths, [count, chunk])
    first = tf.TensorSpec([chunk, *tensor.shape[2:]], tensor.dtype)
    result = tf.map_fn(
        lambda pair: core(*pair),
        (tensor, lengths),
        fn_output_signature=first,
        parallel_iterations=1,
    )
    return tf.reshape(result, [count * chunk, *result.shape[2:]])[:rows]
