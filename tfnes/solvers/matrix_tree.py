"""Sums over spanning trees: log-partition, marginals and exact samples.

Undirected trees (`[..., E]`) and dependency trees (`[..., n + 1, n + 1]`, several roots
or a single one), right at any range of scores and with forbidden parts: one inverse in
float64 (`laplacian`) where the scores of a batch span less than 16, an elimination
without subtraction on logarithms (`elimination`) elsewhere. O(n^3) time, O(n^2) memory;
log Z and marginals can be differentiated (marginals once).

References:
  Kirchhoff (1847); Tutte (1984), the matrix-tree theorems.
  Koo et al. (2007), Structured prediction models via the matrix-tree theorem.
  Grassmann, Taksar & Heyman (1985), Regenerative analysis and steady state
  distributions for Markov chains.
"""

from __future__ import annotations

import tensorflow as tf

from tfnes import random
from tfnes.checks import check_integer
from tfnes.solvers import batching, edges, elimination, laplacian
from tfnes.typing import Seed, Tensor

# Elements of one chunk's table: three or four float32 tables stay in 1 MiB of cache.
_CHUNK_ELEMENTS = 1 << 15


def directed_log_partition(
    log_potentials: Tensor,
    *,
    lengths: Tensor | None = None,
    single_root: bool = True,
) -> Tensor:
    """Returns log Z, the sum over all dependency trees, projective or not.

    Args:
      log_potentials: `[..., n + 1, n + 1]` `[head, modifier]`, node 0 the root; column
        0 and the diagonal are not read; -inf forbids an arc.
      lengths: `[...]` words of each example; None: n.
      single_root: whether exactly one word hangs on the root.

    Returns:
      `[...]`; 0 for no words, -inf where no tree is allowed. Its gradient is the
      marginals.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> count = tfnes.solvers.directed_log_partition(
        ...     tf.zeros([4, 4]), single_root=False)
        >>> round(float(tf.exp(count)))        # (n + 1)^(n - 1) trees of n words
        16
    """
    flat, sizes, unflatten = _flatten(log_potentials, lengths)

    @tf.custom_gradient
    def log_partition(flat):
        def gradient(upstream):
            return upstream[:, None, None] * _marginals(flat, sizes, single_root)

        return _log_partition(flat, sizes, single_root), gradient

    return unflatten(log_partition(flat))


def directed_marginals(
    log_potentials: Tensor,
    *,
    lengths: Tensor | None = None,
    single_root: bool = True,
) -> Tensor:
    """Returns p(arc in tree), `[..., n + 1, n + 1]`; arguments as for the partition.

    Each real column sums to 1. The gradient (a product with the Hessian of log Z) is
    computed by the same recursion; second derivatives of marginals are not offered.
    """
    flat, sizes, unflatten = _flatten(log_potentials, lengths)
    return unflatten(_marginals(flat, sizes, single_root))


def directed_sample(
    log_potentials: Tensor,
    *,
    num_samples: int,
    seed: Seed,
    lengths: Tensor | None = None,
    single_root: bool = True,
) -> Tensor:
    """Returns `[S, ..., n + 1, n + 1]` exact samples of p(tree) = exp(score) / Z.

    O(n^3) once for all samples and O(n^2 log n) for each; no rejection, no mixing time.
    Arguments as for the partition; `seed` is a `[2]` int32 key.
    """
    num_samples = check_integer("num_samples", num_samples, minimum=1)
    flat, sizes, unflatten = _flatten(log_potentials, lengths)
    trees = _sample(
        flat,
        sizes,
        random.make_seed(seed),
        num_samples=num_samples,
        single_root=single_root,
    )
    return batching.samples_first(unflatten(trees), -3)


def log_partition(log_potentials: Tensor, *, lengths: Tensor | None = None) -> Tensor:
    """Returns log Z, the sum over all spanning trees of a complete graph.

    Args:
      log_potentials: `[..., E]`, upper triangle row-major; -inf forbids an edge.
      lengths: `[...]` vertices of each example; None: all.

    Returns:
      `[...]`; 0 for fewer than two vertices, -inf where the graph is not connected.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> count = tfnes.solvers.spanning_tree_log_partition(tf.zeros([45]))
        >>> round(float(tf.exp(count)) / 1e6)      # Cayley: 10^8 trees of 10 vertices
        100
    """
    matrix, words = _directed(log_potentials, lengths)
    return directed_log_partition(matrix, lengths=words, single_root=False)


def marginals(log_potentials: Tensor, *, lengths: Tensor | None = None) -> Tensor:
    """Returns p(edge in tree), `[..., E]`; arguments as for `log_partition`."""
    matrix, words = _directed(log_potentials, lengths)
    arcs = directed_marginals(matrix, lengths=words, single_root=False)
    return _undirected(arcs)


def sample(
    log_potentials: Tensor,
    *,
    num_samples: int,
    seed: Seed,
    lengths: Tensor | None = None,
) -> Tensor:
    """Returns `[S, ..., E]` exact samples; see `directed_sample`."""
    num_samples = check_integer("num_samples", num_samples, minimum=1)
    matrix, words = _directed(log_potentials, lengths)
    arcs = directed_sample(
        matrix, num_samples=num_samples, seed=seed, lengths=words, single_root=False
    )
    return _undirected(arcs)


def _directed(log_potentials, lengths):
    """Hangs an undirected tree up at vertex 0: n - 1 words below the root."""
    matrix = edges.to_matrix(tf.convert_to_tensor(log_potentials))
    words = None if lengths is None else tf.maximum(lengths - 1, 0)
    return matrix, words


def _undirected(arcs: Tensor) -> Tensor:
    return edges.from_matrix(arcs + tf.linalg.matrix_transpose(arcs))


def _flatten(log_potentials, lengths):
    nodes = log_potentials.shape[-1] or tf.shape(log_potentials)[-1]
    return batching.flatten(
        log_potentials, lengths, parts_rank=2, full_length=nodes - 1
    )


def _real(flat: Tensor, lengths: Tensor) -> Tensor:
    """`[B, h, m]` bool: the arcs that exist."""
    node = tf.range(tf.shape(flat)[-1])
    inside = node <= lengths[:, None]
    off_diagonal = node[:, None] != node
    return inside[:, :, None] & inside[:, None, :] & (node > 0) & off_diagonal


def _masked(flat: Tensor, lengths: Tensor) -> Tensor:
    """Returns log-weights with `FORBIDDEN` for what is not there; NaN stays NaN."""
    allowed = _real(flat, lengths) & ~(flat <= elimination.FORBIDDEN)
    return tf.where(allowed, flat, elimination.FORBIDDEN)


def _best_last(log_weights: Tensor) -> Tensor:
    """`[B, n + 1]` involution that moves to node 1 a word that all others can reach.

    With a single root the pivot of a word is zero where it can only hang on the root;
    it must then be the last one to be eliminated.
    """
    nodes = tf.shape(log_weights)[-1]
    node = tf.range(nodes)
    reach = tf.cast(log_weights > 0.5 * elimination.FORBIDDEN, tf.float32)
    reach = tf.where(node[:, None] > 0, reach, 0.0) + tf.eye(nodes)

    def square(power, reach):
        return 2 * power, tf.minimum(tf.matmul(reach, reach), 1.0)

    _, reach = tf.while_loop(
        lambda power, _: power < nodes, square, (tf.constant(1), reach)
    )
    count = tf.where(node > 0, tf.reduce_sum(reach, 2), -1.0)
    best = tf.argmax(count, axis=-1, output_type=tf.int32)[:, None]
    order = tf.where(node == best, 1, tf.broadcast_to(node, tf.shape(count)))
    return tf.where((node == 1) & (nodes > 1), tf.maximum(best, 1), order)


def _permute(matrix: Tensor, order: Tensor) -> Tensor:
    matrix = tf.gather(matrix, order, axis=1, batch_dims=1)
    return tf.gather(matrix, order, axis=2, batch_dims=1)


def _ordered(flat, lengths, single_root):
    """Returns masked log-weights, and the order they are in (None: as given)."""
    table = _masked(flat, lengths)
    if not single_root:
        return table, None
    order = _best_last(table)
    return _permute(table, order), order


def _scaled(table: Tensor) -> tuple[Tensor, Tensor]:
    """Divides each column by its largest weight; returns it and `[B]` log scale."""
    top = tf.reduce_max(table, axis=1)
    top = tf.where(top > 0.5 * elimination.FORBIDDEN, top, 0.0)
    return table - top[:, None, :], tf.reduce_sum(top, -1)


def _small_range(flat: Tensor, lengths: Tensor) -> Tensor:
    """Whether `laplacian` is accurate for the whole batch (scalar bool)."""
    real = _real(flat, lengths)
    top = tf.reduce_max(tf.where(real, flat, flat.dtype.min), 1, keepdims=True)
    return tf.reduce_all(~real | (flat > top - laplacian.RANGE[flat.dtype]))


def _weights(flat: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Returns float64 weights, the largest of each column 1, and the log scale."""
    table, scale = _scaled(tf.cast(_masked(flat, lengths), tf.float64))
    return tf.exp(table), scale


def _chunked(core, flat, lengths, *tensors):
    """Runs `core` over chunks whose tables stay in the second-level cache."""
    nodes = flat.shape[-1] or 1
    chunk = max(8, _CHUNK_ELEMENTS // (nodes * nodes))
    return batching.in_chunks(core, flat, lengths, *tensors, chunk=chunk)


@batching.compiled
def _eliminated_log_partition(flat, lengths, *, single_root):
    def core(flat, lengths):
        table, _ = _ordered(flat, lengths, single_root)
        table, scale = _scaled(table)
        total, _ = elimination.eliminate(table, lengths, single_root=single_root)
        impossible = total < 0.1 * elimination.FORBIDDEN
        return tf.where(impossible, tf.cast(-float("inf"), total.dtype), total + scale)

    return _chunked(core, flat, lengths)


@batching.compiled
def _eliminated_marginals(flat, lengths, *, single_root):
    def core(flat, lengths):
        table, order = _ordered(flat, lengths, single_root)
        table, _ = _scaled(table)
        _, table = elimination.eliminate(table, lengths, single_root=single_root)
        result = elimination.marginals(table, lengths, single_root=single_root)
        result = result if order is None else _permute(result, order)
        return tf.where(_real(flat, lengths), result, 0.0)

    return _chunked(core, flat, lengths)


@batching.compiled
def _eliminated_derivative(flat, lengths, tangent, *, single_root):
    def core(flat, lengths, tangent):
        table, order = _ordered(flat, lengths, single_root)
        table, _ = _scaled(table)
        allowed = _masked(flat, lengths) > elimination.FORBIDDEN
        tangent = tf.where(allowed, tangent, 0.0)
        tangent = tangent if order is None else _permute(tangent, order)
        result = elimination.marginals_derivative(
            table, tangent, lengths, single_root=single_root
        )
        result = result if order is None else _permute(result, order)
        return tf.where(_real(flat, lengths), result, 0.0)

    return _chunked(core, flat, lengths, tangent)


@batching.compiled
def _sample(flat, lengths, seed, *, num_samples, single_root):
    table, order = _ordered(flat, lengths, single_root)
    _, table = elimination.eliminate(
        _scaled(table)[0], lengths, single_root=single_root
    )
    heads = elimination.sample_heads(
        table, lengths, seed, num_samples=num_samples, single_root=single_root
    )
    if order is not None:
        heads = tf.gather(heads, order, axis=2, batch_dims=1)
        names = tf.broadcast_to(order[:, None, :], tf.shape(heads))
        heads = tf.gather(names, heads, axis=2, batch_dims=2)
    trees = tf.one_hot(heads, tf.shape(flat)[-1], axis=2, dtype=flat.dtype)
    return tf.where(_real(flat, lengths)[:, None], trees, 0.0)


def _log_partition(flat, lengths, single_root):
    def dense():
        weights, scale = _weights(flat, lengths)
        result = laplacian.log_partition(weights, lengths, single_root=single_root)
        return tf.cast(result + scale, flat.dtype)

    return tf.cond(
        _small_range(flat, lengths),
        dense,
        lambda: _eliminated_log_partition(flat, lengths, single_root=single_root),
    )


def _marginals(flat, lengths, single_root):
    def dense():
        weights, _ = _weights(flat, lengths)
        result = laplacian.marginals(weights, lengths, single_root=single_root)
        return tf.cast(result, flat.dtype)

    def dense_derivative(tangent):
        weights, _ = _weights(flat, lengths)
        tangent = tf.where(_real(flat, lengths), tangent, 0.0)
        result = laplacian.marginals_derivative(
            weights, tf.cast(tangent, tf.float64), lengths, single_root=single_root
        )
        return tf.cast(result, flat.dtype)

    @tf.custom_gradient
    def marginals(flat):
        def gradient(upstream):
            return tf.cond(
                _small_range(flat, lengths),
                lambda: dense_derivative(upstream),
                lambda: _eliminated_derivative(
                    flat, lengths, upstream, single_root=single_root
                ),
            )

        result = tf.cond(
            _small_range(flat, lengths),
            dense,
            lambda: _eliminated_marginals(flat, lengths, single_root=single_root),
        )
        return result, gradient

    return marginals(flat)
