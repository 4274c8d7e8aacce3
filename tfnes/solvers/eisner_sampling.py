"""Exact samples of projective dependency trees."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfnes import random
from tfnes.checks import check_integer
from tfnes.solvers import eisner_inside as chart
from tfnes.solvers.eisner import LEFT, RIGHT, backtrack
from tfnes.typing import Seed, Tensor


def sample_projective(
    log_potentials: Tensor,
    *,
    num_samples: int,
    seed: Seed,
    lengths: Tensor | None = None,
    single_root: bool = True,
) -> Tensor:
    """Returns the heads of trees drawn from p(tree) = exp(score) / Z.

    The inside chart gives the probability of each split of each span. One split is
    drawn for every span, whether it is visited or not, and the tree is read off them as
    in `eisner`: a tree visits a span at most once, so the draws are independent. Time
    O(n^3) for each sample. Conventions are those of `eisner`; no gradient.

    Args:
      log_potentials: `[..., n+1, n+1]` float32 or float64, `[head, modifier]`.
      num_samples: number of trees S for each sentence.
      seed: `[2]` int32.
      lengths: `[...]` number of real words; None: n.
      single_root: whether exactly one word hangs on the root.

    Returns:
      `[S, ..., n]` int32 heads, 0 for the root; 0 in padding.

    Example:

        >>> import tensorflow as tf, tfnes
        >>> heads = tfnes.solvers.sample_projective(
        ...     tf.zeros([5, 5]), num_samples=3, seed=tfnes.random.make_seed(1))
        >>> heads.shape
        TensorShape([3, 4])
    """
    num_samples = check_integer("num_samples", num_samples, minimum=1)
    scores, lengths, restore = chart.prepare(tf.stop_gradient(log_potentials), lengths)
    batch = tf.shape(scores)[0]
    scores = tf.transpose(scores, [1, 2, 0])
    tables = chart.inside(scores[1:, 1:] if single_root else scores)
    size = tf.shape(tables.right)[1]
    draw = _Draw(random.make_seed(seed), num_samples, batch)
    splits = _draw_splits(tables, draw, size)
    lengths = tf.tile(lengths, [num_samples])
    rows = tf.shape(lengths)[0]
    position = tf.range(size)[:, None]
    if single_root:
        last = lengths - 1
        words = chart.root_splits(tables, scores[0, 1:], lengths[:batch])
        root = draw(chart.log_sum(words)[1][:, None], 0, 3)[0]
        root = tf.clip_by_value(root, 0, tf.maximum(last, 0))
        pending = tf.where((position == 0) & (root > 0), 2 * root + LEFT, 0)
        pending += tf.where((position == root) & (root < last), 2 * last + RIGHT, 0)
        heads = tf.fill([size, rows], -1)
        heads = backtrack(splits, pending, heads, tf.reduce_max(last)) + 1
    else:
        pending = tf.where((position == 0) & (lengths > 0), 2 * lengths, 0)
        heads = tf.zeros([size, rows], tf.int32)
        heads = backtrack(splits, pending, heads, tf.reduce_max(lengths))[1:]
    heads = tf.reshape(heads, [-1, num_samples, batch])
    # The batch goes first to get its leading axes back, then the samples.
    heads = tf.transpose(heads, [2, 1, 0])[:, :, : tf.shape(log_potentials)[-1] - 1]
    heads = restore(heads, trim=False)
    rank = heads.shape.rank
    return tf.transpose(heads, [rank - 2, *range(rank - 2), rank - 1])


class _Draw:
    """Draws splits; the number of a span depends on the seed and on what it is of."""

    def __init__(self, seed: Seed, num_samples: int, batch: Tensor) -> None:
        self.seed, self.num_samples = seed, num_samples
        # Rows are sample-major; the key of a row does not depend on the batch size.
        example = tf.range(batch)
        sample = tf.range(num_samples)[:, None]
        self.index = tf.reshape(example * num_samples + sample, [-1])

    def __call__(self, weights: Tensor, width: Any, kind: int) -> Tensor:
        """`[K, S, B]` probabilities -> `[S, num_samples * B]` indices below K."""
        count, starts = tf.shape(weights)[0], tf.shape(weights)[1]
        uniform = random.uniform(
            tf.stack([tf.shape(self.index)[0], starts]),
            seed=random.fold_in(self.seed, 4 * width + kind),
            index=self.index,
            dtype=weights.dtype,
        )
        uniform = tf.reshape(
            tf.transpose(uniform), [starts, self.num_samples, tf.shape(weights)[2]]
        )
        total = tf.cumsum(weights, axis=0)[:, :, None]
        below = tf.reduce_sum(tf.cast(total < uniform * total[-1], tf.int32), axis=0)
        return tf.reshape(tf.minimum(below, count - 1), [starts, -1])


def _draw_splits(tables: chart.Tables, draw: _Draw, nodes: Tensor) -> Tensor:
    """Returns `[N, 3 * N, num_samples * B]` int32 splits for `backtrack`."""
    rows = tf.shape(draw.index)[0]
    empty = tf.zeros([3 * nodes, rows], tf.int32)
    splits = tf.TensorArray(tf.int32, size=nodes, infer_shape=False).write(0, empty)
    kinds = (chart.right_splits, chart.left_splits, chart.inner_splits)

    def body(width: Tensor, splits: tf.TensorArray) -> Any:
        best = []
        for kind, of_tables in enumerate(kinds):
            _, weights = chart.log_sum(of_tables(tables, width))
            best.append(tf.pad(draw(weights, width, kind), [[0, width], [0, 0]]))
        return width + 1, splits.write(width, tf.concat(best, axis=0))

    _, splits = tf.while_loop(
        lambda width, _: width < nodes, body, (1, splits), parallel_iterations=1
    )
    return splits.stack()
