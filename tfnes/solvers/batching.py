"""Leading axes, padding to few shapes, and compilation, once for all solvers.

A solver's core is a function of `[B, *parts]` and `[B]` int32 lengths. `flatten` makes
that of any leading axes, `compiled` runs the core as a graph. XLA compiles once for
each shape; to bound their number, a batch size that is unknown while the caller's graph
is built is rounded up at run-time (to a multiple of 8 up to 128, of 128 above). Static
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
_CHUNK_ELEMENTS = 1 << 17
_STATIC_SHAPES = False


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


def static_shapes() -> bool:
    """Returns whether shapes may depend on shapes alone (see `use_static_shapes`)."""
    return _STATIC_SHAPES


@contextlib.contextmanager
def use_static_shapes() -> Iterator[None]:
    """Lets no shape depend on values, in all that is traced inside.

    So that XLA can compile a whole graph, not only the solvers in it. By default
    padding is cut out, and equal rows are looked up once: both make shapes that depend
    on the data. Inside this scope padding is kept and masked. Results are the same, at
    the cost of computing the padding; the shapes of what is given must be known.
    """
    global _STATIC_SHAPES
    before = _STATIC_SHAPES
    _STATIC_SHAPES = True
    try:
        yield
    finally:
        _STATIC_SHAPES = before


def dimension(tensor: Tensor, axis: int) -> int | Tensor:
    """Returns the extent of an axis, as an int where it is known."""
    extent = tensor.shape[axis]
    return tf.shape(tensor)[axis] if extent is None else extent


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
    tensor: Tensor,
    lengths: Tensor | None,
    *,
    parts_rank: int,
    full_length: Any,
    round_rows: bool = True,
) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """Merges the leading axes into one batch axis of few possible sizes.

    Args:
      tensor: `[..., *parts]`.
      lengths: `[...]` or broadcastable to it; None: `full_length` everywhere.
      parts_rank: number of trailing part axes.
      full_length: int or scalar tensor, number of nodes of an unpadded example.
      round_rows: whether to round an unknown batch size up.

    Returns:
      `[B, *parts]`, `[B]` int32 lengths in 0 ... full_length, and a function that gives
      a result `[B, *any]` its leading axes `[..., *any]` back. Rows that were added
      have length 0.
    """
    tensor = tf.convert_to_tensor(tensor)
    split = tensor.shape.rank - parts_rank
    if split == 1 and lengths is None and tensor.shape.is_fully_defined():
        # The usual case inside a model: nothing to do at run-time.
        full = tf.fill([tensor.shape[0]], tf.cast(full_length, tf.int32))
        return tensor, full, lambda result: result
    shape = tf.shape(tensor)
    leading = shape[:split]
    flat_rows = tf.reduce_prod(leading)
    flat = tf.reshape(tensor, tf.concat([[flat_rows], shape[split:]], 0))
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
    if rows is None and round_rows and _JIT_COMPILE:
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


def samples_first(samples: Tensor, axis: int) -> Tensor:
    """Moves the axis of samples to the front: `[..., S, *any]` to `[S, ..., *any]`.

    Args:
      samples: the tensor.
      axis: the negative index of the axis of samples.
    """
    order = list(range(samples.shape.rank))
    return tf.transpose(samples, [order.pop(axis), *order])


def chunk_of(elements: int | Tensor) -> int:
    """Returns how many examples make a chunk, given the elements of one's table.

    Tables of a chunk should stay in the second-level cache: 8 to 1024 examples, 128 if
    the number of elements is not known while the graph is built.
    """
    if not isinstance(elements, int):
        return 128
    return min(max(_CHUNK_ELEMENTS // max(elements, 1), 8), 1024)


def in_chunks(
    core: Callable[..., Tensor], *tensors: Tensor, chunk: int = 128
) -> Tensor:
    """Runs `core` over chunks of a large batch, so that its tables stay in cache.

    For use inside a compiled function; all `tensors` are `[B, ...]`. On an accelerator,
    and where B is at most `chunk` or unknown, it is one call.
    """
    rows = tensors[0].shape[0]
    if rows is None or rows <= chunk or tf.config.list_logical_devices("GPU"):
        return core(*tensors)
    count = -(-rows // chunk)
    # Chunks of equal size, so that one compiled body serves all.
    chunk = -(-rows // count)
    extra = count * chunk - rows

    def split(tensor):
        tensor = tf.pad(tensor, [[0, extra]] + [[0, 0]] * (tensor.shape.rank - 1))
        return tf.reshape(tensor, tf.concat([[count, chunk], tf.shape(tensor)[1:]], 0))

    parts = [split(tensor) for tensor in tensors]

    core = tf.function(core, autograph=False)
    first = core.get_concrete_function(*[part[0] for part in parts]).structured_outputs

    def body(i, results):
        return i + 1, results.write(i, core(*[part[i] for part in parts]))

    results = tf.TensorArray(first.dtype, count, element_shape=first.shape)
    results = tf.while_loop(
        lambda i, _: i < count, body, (0, results), maximum_iterations=count
    )[1].stack()
    return tf.reshape(results, [count * chunk, *first.shape[1:]])[:rows]
