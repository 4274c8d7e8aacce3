"""SparseMAP: the Euclidean projection onto the hull of all structures.

Any argmax serves as the oracle. Batched, in the graph, with a gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfnes.checks import check_integer
from tfnes.typing import Tensor

# On the diagonal of Gram matrices of 0/1 vectors: keeps a singular one solvable.
_RIDGE = 1e-10


def sparsemap(
    log_potentials: Tensor,
    *,
    argmax: Callable[..., Tensor],
    parts_rank: int = 1,
    max_iterations: int = 10,
    tolerance: float = 1e-6,
    lengths: Tensor | None = None,
) -> Tensor:
    """Returns the point of the convex hull of Z that is nearest to log_potentials.

    u = argmin over u in conv(Z) of 1/2 |u - log_potentials|^2, a sparse mixture of
    structures. An active set of structures grows by the best structure for the residual
    log_potentials - u, and shrinks where a weight would be negative (the min-norm point
    algorithm). An iteration is one call of `argmax` for the whole batch, so at most
    `max_iterations` + 1 structures are mixed; u is exact where the search ends before.

    The Jacobian is the orthogonal projection onto the differences of the active
    structures; it is used for the gradient and treats the active set as fixed.

    Args:
      log_potentials: `[..., *parts]`, float32 or float64.
      argmax: function of (`[B, *parts]`, lengths=`[B]` or None) that returns the
        indicators of the best structures, such as `structure.argmax`.
      parts_rank: number of trailing part axes.
      max_iterations: calls of `argmax` after the first one.
      tolerance: the search ends when the best structure is not better by more than
        this, relative to the largest score of the active set (at least 1).
      lengths: `[...]` real nodes of each example, given to `argmax`.

    Returns:
      `[..., *parts]` in [0, 1].

    Raises:
      ConfigurationError: if `max_iterations` is negative.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> u = tfnes.solvers.sparsemap(
        ...     tf.constant([0.75, 0.25, -2.0]),
        ...     argmax=tfnes.structures.Categorical().argmax)
        >>> u.numpy()
        array([0.75, 0.25, 0.  ], dtype=float32)

    References:
      Niculae, Martins, Blondel & Cardie (2018), SparseMAP: differentiable sparse
      structured inference, Sections 3.2 and 3.3.
      Wolfe (1976), Finding the nearest point in a polytope.
    """
    max_iterations = check_integer(
        "sparsemap.max_iterations", max_iterations, minimum=0
    )
    log_potentials = tf.convert_to_tensor(log_potentials)
    shape = tf.shape(log_potentials)
    split = log_potentials.shape.rank - parts_rank
    rows = tf.reduce_prod(shape[:split])
    grouped = tf.reshape(log_potentials, tf.concat([[rows], shape[split:]], 0))
    grouped = tf.ensure_shape(
        grouped,
        [log_potentials.shape[:split].num_elements(), *log_potentials.shape[split:]],
    )
    if lengths is not None:
        lengths = tf.reshape(tf.broadcast_to(lengths, shape[:split]), [-1])

    @tf.custom_gradient
    def project(scores):
        vertices, weights, active = _search(
            tf.stop_gradient(scores), argmax, lengths, max_iterations, tolerance
        )

        def gradient(upstream):
            flat = tf.reshape(upstream, tf.shape(vertices)[::2])
            along = tf.cast(tf.einsum("bkp,bp->bk", vertices, flat), tf.float64)
            moved = _solve(_gram(vertices), active, along, total=0.0)
            moved = tf.cast(moved, vertices.dtype)
            result = tf.einsum("bkp,bk->bp", vertices, moved)
            return tf.reshape(result, tf.shape(upstream))

        return tf.reshape(_mix(vertices, weights), tf.shape(scores)), gradient

    return tf.ensure_shape(tf.reshape(project(grouped), shape), log_potentials.shape)


def _search(scores, argmax, lengths, max_iterations, tolerance):
    """Returns `[B, K, P]` structures, `[B, K]` float64 weights and `[B, K]` active."""
    rows = tf.shape(scores)[0]
    flat = tf.reshape(scores, [rows, tf.reduce_prod(tf.shape(scores)[1:])])
    slots = max_iterations + 1
    slot = tf.range(slots)

    def best(residual):
        latent = argmax(tf.reshape(residual, tf.shape(scores)), lengths=lengths)
        return tf.reshape(latent, tf.shape(flat))

    vertices = tf.where((slot == 0)[:, None], best(flat)[:, None], 0.0)
    active = tf.broadcast_to(slot == 0, [rows, slots])
    weights = tf.cast(active, tf.float64)

    def body(iteration, vertices, weights, active, done):
        weights, active = _optimize(vertices, weights, active, flat)
        residual = flat - _mix(vertices, weights)
        new = best(residual)
        known = _scores(vertices, residual)
        known = tf.reduce_max(tf.where(active, known, known.dtype.min), -1)
        gain = _scores(new[:, None], residual)[:, 0] - known
        add = ~done & (gain > tolerance * tf.maximum(tf.abs(known), 1.0))
        free = tf.argmin(tf.cast(active, tf.int32), -1, output_type=tf.int32)
        here = (slot == free[:, None]) & add[:, None]
        vertices = tf.where(here[..., None], new[:, None], vertices)
        return iteration + 1, vertices, weights, active | here, ~add

    _, vertices, weights, active, _ = tf.while_loop(
        lambda iteration, *state: ~tf.reduce_all(state[-1]),
        body,
        (0, vertices, weights, active, tf.zeros([rows], tf.bool)),
        maximum_iterations=max_iterations,
    )
    weights, active = _optimize(vertices, weights, active, flat)
    return vertices, weights, active


def _optimize(vertices, weights, active, flat):
    """Returns the best weights over the active set, and the set without those at 0."""
    gram = _gram(vertices)
    targets = tf.cast(_scores(vertices, flat), tf.float64)
    # Only differences of scores matter; this keeps them exact where scores are large.
    top = tf.reduce_max(tf.where(active, targets, targets.dtype.min), -1, True)
    targets = tf.where(active, targets - top, 0.0)
    slot = tf.range(tf.shape(weights)[1])

    def body(_, weights, active):
        ideal = _solve(gram, active, targets, total=1.0)
        negative = active & (ideal < 0.0)
        ratio = weights / tf.maximum(weights - ideal, 1e-300)
        ratio = tf.where(negative, ratio, 2.0)
        step = tf.minimum(tf.reduce_min(ratio, -1, True), 1.0)
        blocking = tf.argmin(ratio, axis=-1, output_type=tf.int32)
        drop = negative & (slot == blocking[:, None])
        weights = tf.maximum(weights + step * (ideal - weights), 0.0)
        active &= ~drop
        return tf.reduce_any(negative), tf.where(active, weights, 0.0), active

    _, weights, active = tf.while_loop(
        lambda going, *_: going,
        body,
        (tf.constant(True), weights, active),
        maximum_iterations=tf.shape(weights)[1] + 1,
    )
    return weights, active


def _solve(gram: Tensor, active: Tensor, targets: Tensor, *, total: float) -> Tensor:
    """Solves gram y + t = targets, sum y = total over the active set; 0 elsewhere."""
    on = tf.cast(active, tf.float64)
    pairs = on[:, :, None] * on[:, None, :]
    gram = gram * pairs + tf.linalg.diag(1.0 - on + _RIDGE * on)
    border = tf.concat([on[:, None, :], tf.zeros_like(on[:, None, :1])], -1)
    matrix = tf.concat([tf.concat([gram, on[..., None]], -1), border], 1)
    right = tf.concat([targets * on, total + tf.zeros_like(on[:, :1])], -1)
    solution = tf.linalg.solve(matrix, right[..., None])[:, :-1, 0]
    return tf.where(active, solution, 0.0)


def _gram(vertices: Tensor) -> Tensor:
    return tf.cast(tf.matmul(vertices, vertices, transpose_b=True), tf.float64)


def _scores(vertices: Tensor, scores: Tensor) -> Tensor:
    """`[B, K]` inner products; parts that are 0 add 0 whatever their score."""
    used = tf.where(vertices > 0, scores[:, None], tf.zeros_like(vertices))
    return tf.reduce_sum(used * vertices, -1)


def _mix(vertices: Tensor, weights: Tensor) -> Tensor:
    mixed = tf.einsum("bkp,bk->bp", vertices, tf.cast(weights, vertices.dtype))
    return tf.clip_by_value(mixed, 0.0, 1.0)
