"""The matrix-tree theorem by dense linear algebra in float64.

The fast way where the weights of a graph span few orders of magnitude: one inverse. Its
error grows with that range (`RANGE` bounds it to about 1e-7 for float32 results, 1e-9
for float64 results); beyond, `elimination` takes over.

Everything here is on `[B, n + 1, n + 1]` `[head, modifier]`, node 0 the root, with
plain weights, 0 where an arc is not there. K is the inverse of the Laplacian L, and

    log Z = log det L,    p(a) = w[a] tr(K dL/dw[a])
    Hessian of log Z times v = p v - w * (tr(K dL/dw[a] K L(w v)) for each a)
"""

from __future__ import annotations

import tensorflow as tf

from tfnes.typing import Tensor

RANGE = {tf.float32: 16.0, tf.float64: 10.0}
"""The range of log-weights in a column up to which this module is accurate."""


def _laplacian(weights: Tensor, *, single_root: bool) -> Tensor:
    """Returns `[B, n, n]`, linear in `weights` (Koo et al. 2007, sections 3.1, 3.2)."""
    words = weights[:, 1:, 1:]
    if not single_root:
        return tf.linalg.diag(tf.reduce_sum(weights[:, :, 1:], 1)) - words
    matrix = tf.linalg.diag(tf.reduce_sum(words, 1)) - words
    return tf.concat([weights[:, :1, 1:], matrix[:, 1:]], 1)


def _read(matrix: Tensor, *, single_root: bool) -> Tensor:
    """Returns tr(matrix dL/dw[a]) for each arc a, `[B, n + 1, n + 1]`."""
    diagonal = tf.linalg.diag_part(matrix)[:, None, :]
    heads = tf.linalg.matrix_transpose(matrix)
    if single_root:
        # Row 0 of L holds the root's weights: no diagonal, no off-diagonal there.
        root = heads[:, :1]
        diagonal = tf.concat([tf.zeros_like(diagonal[..., :1]), diagonal[..., 1:]], 2)
        heads = tf.concat([tf.zeros_like(root), heads[:, 1:]], 1)
    else:
        root = diagonal
    return tf.pad(tf.concat([root, diagonal - heads], 1), [[0, 0], [0, 0], [1, 0]])


def _padded(weights: Tensor, lengths: Tensor, *, single_root: bool) -> Tensor:
    """Returns the Laplacian with an identity where there are no words."""
    padding = tf.range(1, tf.shape(weights)[-1]) > lengths[:, None]
    identity = tf.linalg.diag(tf.cast(padding, weights.dtype))
    return _laplacian(weights, single_root=single_root) + identity


def log_partition(weights: Tensor, lengths: Tensor, *, single_root: bool) -> Tensor:
    """Returns log Z, `[B]`."""
    # |det| by QR, which every device and XLA offer.
    matrix = _padded(weights, lengths, single_root=single_root)
    diagonal = tf.linalg.diag_part(tf.linalg.qr(matrix).r)
    return tf.reduce_sum(tf.math.log(tf.abs(diagonal)), -1)


def marginals(weights: Tensor, lengths: Tensor, *, single_root: bool) -> Tensor:
    """Returns p(h -> m in the tree), `[B, n + 1, n + 1]`."""
    inverse = tf.linalg.inv(_padded(weights, lengths, single_root=single_root))
    return tf.clip_by_value(weights * _read(inverse, single_root=single_root), 0, 1)


def marginals_derivative(
    weights: Tensor, tangent: Tensor, lengths: Tensor, *, single_root: bool
) -> Tensor:
    """Returns the derivative of the marginals where log-weights move by `tangent`."""
    inverse = tf.linalg.inv(_padded(weights, lengths, single_root=single_root))
    change = _laplacian(weights * tangent, single_root=single_root)
    moved = tf.matmul(inverse, tf.matmul(change, inverse))
    return weights * (
        _read(inverse, single_root=single_root) * tangent
        - _read(moved, single_root=single_root)
    )
