"""Reports what a solver can only answer arbitrarily: NaN scores, infeasible instances.

Outside the hot path: solvers call it only with `validate=True`.
"""

from __future__ import annotations

import tensorflow as tf

from tfnes import errors
from tfnes.typing import Tensor

_LIMIT = -1e29


def check_heads(
    log_potentials: Tensor, heads: Tensor, *, lengths: Tensor | None, rule: str
) -> Tensor:
    """Returns `heads` after checking the scores that they are the best tree of.

    Args:
      log_potentials: `[..., n+1, n+1]`, `[head, modifier]`.
      heads: `[..., n]`, the solver's answer.
      lengths: `[...]` number of real words; None: n.
      rule: which trees were searched, for the message.

    Raises:
      DataError: if a score that counts is NaN or +inf, or if every tree has a forbidden
        arc; the message names the example. Inside a graph: `tf.errors.
        InvalidArgumentError` when the graph runs.
    """
    nodes = tf.shape(log_potentials)[-1]
    if lengths is None:
        lengths = tf.fill(tf.shape(heads)[:-1], nodes - 1)
    node = tf.range(nodes)
    real = node <= tf.cast(lengths, tf.int32)[..., None]
    counts = real[..., :, None] & real[..., None, :] & (node > 0)
    counts &= node[:, None] != node
    usable = log_potentials < float("inf")  # False for NaN
    bad = tf.reduce_any(counts & ~usable, axis=[-2, -1])
    chosen = tf.gather(
        tf.linalg.matrix_transpose(log_potentials)[..., 1:, :],
        heads[..., None],
        axis=-1,
        batch_dims=heads.shape.rank,
    )[..., 0]
    infeasible = tf.reduce_any(real[..., 1:] & (chosen <= _LIMIT), axis=-1)
    heads = _refuse(
        bad,
        heads,
        "log_potentials must not be NaN or +inf. Use -inf to forbid an arc.",
    )
    return _refuse(
        infeasible & ~bad,
        heads,
        f"every {rule} has a forbidden arc (a log-potential of -inf). Allow more arcs: "
        "each word needs a way to the root.",
    )


def _refuse(wrong: Tensor, result: Tensor, message: str) -> Tensor:
    if tf.executing_eagerly():
        if tf.reduce_any(wrong):
            example = tf.where(wrong)[0].numpy().tolist()
            raise errors.DataError(f"Example {example}: {message}")
        return result
    check = tf.debugging.Assert(
        ~tf.reduce_any(wrong), [message, "Examples:", tf.where(wrong)], summarize=10
    )
    with tf.control_dependencies([check]):
        return tf.identity(result)
