"""Batching of the dependency solvers: any leading axes, few compiled shapes, chunks.

The cores are written for any size: one trace of each serves all shapes, and XLA
compiles it when a shape is first run. What is known while the caller's graph is built
is compiled as it is; what is not (and everything in eager mode) is rounded up: the
words to a multiple of 8, the batch to a multiple of 8 up to `chunk` and of `chunk`
above, or, if the sentences are long, to 1, 2 or 4. Large batches are solved chunk by
chunk, so that the tables of a chunk stay in cache."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfnes.solvers import batching
from tfnes.typing import Tensor

_WORDS_STEP = 8
_ROWS_STEP = 8
_LONG = 64
_ACCELERATOR_CHUNK = 8192

Core = Callable[..., Tensor]


def solve_heads(
    core: Core,
    log_potentials: Tensor,
    lengths: Tensor | None,
    *,
    chunk: int,
    long_chunk: int | None = None,
    **constants: Any,
) -> Tensor:
    """Runs a head-finding core over a batch of any shape.

    Args:
      core: function of `[B, n+1, n+1]` scores and `[B]` int32 lengths to `[B, n]` int32
        heads, with the keyword arguments `constants` and `jit`.
      log_potentials: `[..., n+1, n+1]` float32 or float64, `[head, modifier]`.
      lengths: `[...]` number of real words; None: n.
      chunk: number of examples that are solved together on a CPU.
      long_chunk: the same for more than 64 words; None: `chunk`.
      **constants: hashable keyword arguments of the core.

    Returns:
      `[..., n]` int32: the head of each word, 0 for the root; 0 in padding.
    """
    log_potentials = check_scores(log_potentials)
    scores = tf.stop_gradient(log_potentials)
    words = tf.shape(scores)[-1] - 1
    scores, lengths, unflatten = batching.flatten(
        scores, lengths, parts_rank=2, full_length=words, round_rows=False
    )
    chunks = (chunk, long_chunk or chunk)
    run = _runner(core, chunks=chunks, dtype=tf.int32, **constants)
    heads = run(scores, lengths)[:, :words]
    nodes = log_potentials.shape[-1]
    static = [*log_potentials.shape[:-2], None if nodes is None else nodes - 1]
    return tf.ensure_shape(unflatten(heads), static)


def solve_parts(
    core: Core, scores: Tensor, *batched: Tensor, chunk: int, **constants: Any
) -> Tensor:
    """Runs a core that gives a number for each arc over a flat batch.

    Args:
      core: function of all tensors below to `[B, n+1, n+1]`, with the keyword arguments
        `constants` and `jit`.
      scores: `[B, n+1, n+1]` float32 or float64.
      *batched: more arguments, `[B]` or `[B, n+1, n+1]`.
      chunk: number of examples that are solved together.
      **constants: hashable keyword arguments of the core.

    Returns:
      `[B, n+1, n+1]`. No gradient.
    """
    run = _runner(core, chunks=(chunk, chunk), dtype=scores.dtype, **constants)
    nodes = tf.shape(scores)[1]
    # The tape need not look inside.
    batched = [tf.stop_gradient(x) for x in (scores, *batched)]
    return tf.ensure_shape(run(*batched)[:, :nodes, :nodes], scores.shape)


def _runner(
    core: Core, *, chunks: tuple[int, int], dtype: tf.DType, **constants: Any
) -> Core:
    """Returns `_solve_flat` of a core, as a graph where the caller is eager.

    Calling the compiled core from eager mode costs more than a graph around it does.
    """
    jit = batching.jit_compile() and not tf.config.functions_run_eagerly()
    if tf.config.list_logical_devices("GPU"):
        chunks = (_ACCELERATOR_CHUNK, _ACCELERATOR_CHUNK)
    settings = (core, jit, chunks, dtype, tuple(sorted(constants.items())))
    if tf.executing_eagerly() and not batching.static_shapes():
        return _graph(*settings)
    return functools.partial(_solve_flat, *settings)


@functools.cache
def _graph(*settings: Any) -> Core:
    return tf.function(
        functools.partial(_solve_flat, *settings),
        reduce_retracing=True,
        autograph=False,
    )


def _solve_flat(
    core: Core,
    jit: bool,
    chunks: tuple[int, int],
    dtype: tf.DType,
    constants: tuple,
    *batched: Tensor,
) -> Tensor:
    """Tensors `[B, ...]` -> `[B, ...]` of `dtype`; unknown sizes are rounded up."""
    rows, nodes = batched[0].shape[0], batched[0].shape[1]
    if nodes is None or nodes == 1:
        step = _WORDS_STEP if jit else 1
        batched = [_pad_words(x, step) if x.shape.rank == 3 else x for x in batched]
    run = _compiled(core, jit, constants)
    nodes = batching.dimension(batched[0], 1)
    if isinstance(nodes, int):
        chunks = (chunks[nodes > _LONG + 1],) * 2
    if batching.static_shapes() or (rows is not None and 0 < rows <= min(chunks)):
        return run(*batched)
    return _run_chunks(run, batched, tf.where(nodes > _LONG + 1, *chunks[::-1]), dtype)


def check_scores(log_potentials: Any) -> Tensor:
    """Returns `log_potentials` as a tensor after checking rank, dtype and shape.

    Raises:
      ValueError: unless it is `[..., n+1, n+1]`, float32 or float64.
    """
    scores = tf.convert_to_tensor(log_potentials)
    if scores.dtype not in (tf.float32, tf.float64):
        raise ValueError(
            "log_potentials of dependency trees must be float32 or float64. Received: "
            f"{scores.dtype.name}. Cast them first."
        )
    shape = scores.shape
    if (
        shape.rank is None
        or shape.rank < 2
        or not shape[-1:].is_compatible_with(shape[-2:-1])
    ):
        raise ValueError(
            "log_potentials of dependency trees must have the shape [..., n+1, n+1], "
            f"[head, modifier] with node 0 the root. Received: {shape}."
        )
    return scores


@functools.cache
def _compiled(core: Core, jit: bool, constants: tuple) -> Core:
    """Returns the core as a graph function with one trace for all sizes."""
    function = functools.partial(core, jit=jit, **dict(constants))

    @functools.cache
    def of_types(types: tuple) -> Core:
        return tf.function(
            function,
            input_signature=[tf.TensorSpec([None] * rank, t) for rank, t in types],
            jit_compile=True if jit else None,
            autograph=False,
        )

    return lambda *args: of_types(tuple((x.shape.rank, x.dtype) for x in args))(*args)


def _pad_words(scores: Tensor, step: int) -> Tensor:
    """Rounds the number of words up to a multiple of `step`, at least `step`."""
    words = tf.shape(scores)[1] - 1
    extra = tf.maximum(step, words + (-words) % step) - words
    return tf.pad(scores, [[0, 0], [0, extra], [0, extra]])


def _run_chunks(
    run: Core, batched: Sequence[Tensor], chunk: Tensor, dtype: tf.DType
) -> Tensor:
    """Solves `[B, ...]` in chunks of equal size; the last one overlaps its neighbor."""
    rows, nodes = tf.shape(batched[0])[0], tf.shape(batched[0])[1]
    step = _ROWS_STEP
    # Few rows of many words: a row is long enough to be worth a shape of its own.
    for few in (4, 2, 1):
        step = tf.where((rows <= few) & (nodes > _LONG + 1), few, step)
    size = tf.clip_by_value(rows + (-rows) % step, 1, chunk)
    extra = tf.maximum(size - rows, 0)
    batched = [tf.pad(x, [[0, extra]] + [[0, 0]] * (x.shape.rank - 1)) for x in batched]
    padded = rows + extra
    count = (padded + size - 1) // size
    start = tf.minimum(tf.range(count) * size, padded - size)
    results = tf.TensorArray(dtype, size=count, infer_shape=False)

    def body(i: Tensor, results: tf.TensorArray):
        first = start[i]
        part = run(*[x[first : first + size] for x in batched])
        return i + 1, results.write(i, part)

    _, results = tf.while_loop(lambda i, _: i < count, body, (0, results))
    results = results.stack()
    shape = tf.concat([[-1], tf.shape(results)[2:]], 0)
    last = results[-1:, count * size - padded :]
    parts = [tf.reshape(part, shape) for part in (results[:-1], last)]
    return tf.concat(parts, 0)[:rows]
