"""Batching of the dependency solvers: any leading axes, few compiled shapes, chunks.

The cores are written for any size: one trace of each serves all shapes, and XLA
compiles it when a shape is first run. What is known while the caller's graph is built
is compiled as it is; what is not (and everything in eager mode) is rounded up: the
words to a multiple of 8, the batch to a multiple of 8 up to `chunk` and of `chunk`
above. Large batches are solved chunk by chunk, so that the tables of a chunk stay in
cache."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfnes.solvers import batching
from tfnes.typing import Tensor

_WORDS_STEP = 8
_ROWS_STEP = 8
_ACCELERATOR_CHUNK = 8192

Core = Callable[..., Tensor]


def solve_heads(
    core: Core,
    log_potentials: Tensor,
    lengths: Tensor | None,
    *,
    chunk: int,
    **constants: Any,
) -> Tensor:
    """Runs a head-finding core over a batch of any shape.

    Args:
      core: function of `[B, n+1, n+1]` scores and `[B]` int32 lengths to `[B, n]` int32
        heads, with the keyword arguments `constants` and `jit`.
      log_potentials: `[..., n+1, n+1]` float32 or float64, `[head, modifier]`.
      lengths: `[...]` number of real words; None: n.
      chunk: number of examples that are solved together on a CPU.
      **constants: hashable keyword arguments of the core.

    Returns:
      `[..., n]` int32: the head of each word, 0 for the root; 0 in padding.
    """
    log_potentials = check_scores(log_potentials)
    scores = tf.stop_gradient(log_potentials)
    words = tf.shape(scores)[-1] - 1
    scores, lengths, unflatten = batching.flatten(
        scores, lengths, parts_rank=2, full_length=words
    )
    jit = batching.jit_compile() and not tf.config.functions_run_eagerly()
    if tf.config.list_logical_devices("GPU"):
        chunk = _ACCELERATOR_CHUNK
    constants = tuple(sorted(constants.items()))
    if tf.executing_eagerly():
        heads = _graph(core, jit, chunk, constants)(scores, lengths)
    else:
        heads = _solve_flat(core, jit, chunk, constants, scores, lengths)
    nodes = log_potentials.shape[-1]
    static = [*log_potentials.shape[:-2], None if nodes is None else nodes - 1]
    return tf.ensure_shape(unflatten(heads), static)


@functools.cache
def _graph(core: Core, jit: bool, chunk: int, constants: tuple) -> Core:
    """Returns `_solve_flat` as one graph of any shape, for eager callers.

    Calling the compiled core from eager mode costs more than a graph around it does.
    """
    return tf.function(
        functools.partial(_solve_flat, core, jit, chunk, constants),
        reduce_retracing=True,
        autograph=False,
    )


def _solve_flat(
    core: Core, jit: bool, chunk: int, constants: tuple, scores: Tensor, lengths: Tensor
) -> Tensor:
    """`[B, n+1, n+1]`, `[B]` -> `[B, n]` heads; unknown sizes are rounded up."""
    rows, nodes = scores.shape[0], scores.shape[1]
    words = tf.shape(scores)[1] - 1
    if nodes is None or nodes == 1:
        scores = _pad_words(scores, _WORDS_STEP if jit else 1)
    run = _compiled(core, jit, constants)
    if rows is not None and 0 < rows <= chunk:
        heads = run(scores, lengths)
    else:
        heads = _run_chunks(run, scores, lengths, chunk)
    return heads[:, :words]


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
    """Returns the core as a graph function with one trace for each dtype."""
    function = functools.partial(core, jit=jit, **dict(constants))

    @functools.cache
    def for_dtype(dtype: tf.DType) -> Core:
        return tf.function(
            function,
            input_signature=[
                tf.TensorSpec([None, None, None], dtype),
                tf.TensorSpec([None], tf.int32),
            ],
            jit_compile=True if jit else None,
            autograph=False,
        )

    return lambda scores, *rest: for_dtype(scores.dtype)(scores, *rest)


def _pad_words(scores: Tensor, step: int) -> Tensor:
    """Rounds the number of words up to a multiple of `step`, at least `step`."""
    words = tf.shape(scores)[1] - 1
    extra = tf.maximum(step, words + (-words) % step) - words
    return tf.pad(scores, [[0, 0], [0, extra], [0, extra]])


def _run_chunks(run: Core, scores: Tensor, lengths: Tensor, chunk: int) -> Tensor:
    """Solves `[B, ...]` in chunks of equal size; the last one overlaps its neighbor."""
    rows = tf.shape(scores)[0]
    size = tf.clip_by_value(rows + (-rows) % _ROWS_STEP, _ROWS_STEP, chunk)
    extra = tf.maximum(size - rows, 0)
    scores = tf.pad(scores, [[0, extra], [0, 0], [0, 0]])
    lengths = tf.pad(lengths, [[0, extra]])
    padded = rows + extra
    count = (padded + size - 1) // size
    heads = tf.TensorArray(tf.int32, size=count, infer_shape=False)

    def body(i: Tensor, heads: tf.TensorArray):
        start = tf.minimum(i * size, padded - size)
        part = run(scores[start : start + size], lengths[start : start + size])
        return i + 1, heads.write(i, part)

    _, heads = tf.while_loop(lambda i, _: i < count, body, (0, heads))
    heads = heads.stack()
    words = tf.shape(scores)[1] - 1
    first = tf.reshape(heads[:-1], [-1, words])
    last = heads[-1:, count * size - padded :]
    return tf.concat([first, tf.reshape(last, [-1, words])], 0)[:rows]
