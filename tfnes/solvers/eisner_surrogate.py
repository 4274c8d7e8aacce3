"""The differentiable surrogate of Eisner's algorithm (Corro and Titov)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfnes.solvers import tree_batching
from tfnes.solvers.eisner_inside import prepare
from tfnes.solvers.eisner_sweeps import (
    Spans,
    Window,
    arcs_of,
    ascend,
    descend,
)
from tfnes.typing import Tensor

_CHUNK = 32


def eisner_surrogate(
    log_potentials: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    lengths: Tensor | None = None,
    single_root: bool = True,
) -> Tensor:
    """Returns a soft projective tree: Eisner's algorithm with soft decisions.

    Every argmax over the splits of a span is a softmax: a split weighs
    w = softmax(splits / temperature), the value of the span is the mean sum_k w_k *
    splits_k, and the backward pass gives each split its share of the weight of the span
    in place of all to the best one. The result is a convex combination of trees: real
    columns sum to 1, as does the row of the root with `single_root`. It tends to
    `eisner` as the temperature goes to 0 where the best tree is unique, and is
    differentiable, once, with respect to `log_potentials`. With Gumbel noise on the
    log-potentials it is the "differentiable perturb-and-parse" (DPP) relaxation.

    Conventions are those of `eisner`. Time O(n^3) for each sentence, forward and
    backward.

    Args:
      log_potentials: `[..., n+1, n+1]` float32 or float64, `[head, modifier]`.
      temperature: positive; of the softmax.
      lengths: `[...]` number of real words; None: n.
      single_root: whether exactly one word hangs on the root.

    Returns:
      `[..., n+1, n+1]` in [0, 1].

    Example:

        >>> import tensorflow as tf, tfnes
        >>> scores = tf.constant([[0.0, 2.0, 1.0], [0.0, 0.0, 5.0], [0.0, 4.0, 0.0]])
        >>> tfnes.solvers.eisner_surrogate(scores, temperature=0.1).numpy().round(2)
        array([[0., 1., 0.],
               [0., 0., 1.],
               [0., 0., 0.]], dtype=float32)

    References:
      Corro and Titov (2019), "Differentiable perturb-and-parse: semi-supervised parsing
      with a structured variational autoencoder", ICLR, section 5 and Algorithms 1-2.
    """
    scores, lengths, restore = prepare(log_potentials, lengths)
    temperature = tf.convert_to_tensor(temperature, dtype_hint=scores.dtype)
    temperatures = tf.fill(tf.shape(lengths), tf.cast(temperature, scores.dtype))

    def run(core: Any, *tensors: Tensor) -> Tensor:
        return tree_batching.solve_parts(
            core, *tensors, lengths, temperatures, chunk=_CHUNK, single_root=single_root
        )

    @tf.custom_gradient
    def soft_tree(scores: Tensor) -> Any:
        def gradient(upstream: Tensor) -> Tensor:
            return run(_gradient, scores, tf.ensure_shape(upstream, scores.shape))

        return run(_soft_tree, scores), gradient

    return restore(soft_tree(scores))


def _soft_tree(
    scores: Tensor, lengths: Tensor, temperatures: Tensor, **settings: bool
) -> Tensor:
    """Core: `[B, n+1, n+1]`, `[B]`, `[B]` -> `[B, n+1, n+1]`."""
    surrogate = _Surrogate(lengths, temperatures, **settings)
    _, weights, top = surrogate.run(_batch_last(scores))
    return surrogate.arcs(weights, top)


def _gradient(
    scores: Tensor,
    upstream: Tensor,
    lengths: Tensor,
    temperatures: Tensor,
    **settings: bool,
) -> Tensor:
    """Core: the gradient of <upstream, soft tree>, `[B, n+1, n+1]` too."""
    surrogate = _Surrogate(lengths, temperatures, **settings)
    values, weights, top = surrogate.run(_batch_last(scores))
    upstream = _batch_last(upstream)
    return surrogate.arcs(*surrogate.differentiate(upstream, values, weights, top))


class _Surrogate:
    """The sweeps over one batch; `eisner_sweeps` has the formulas."""

    def __init__(
        self, lengths: Tensor, temperatures: Tensor, *, single_root: bool, jit: bool
    ) -> None:
        self.lengths, self.temperatures = lengths, temperatures
        self.single_root, self.jit = single_root, jit

    def run(self, scores: Tensor) -> tuple[Spans, Spans, Tensor]:
        """Returns values and weights of the spans, and what the top gives, `[n, B]`."""

        def value(window: Window, kind: int, splits: Tensor) -> Tensor:
            weights, _ = self._softmax(splits, window.real())
            return tf.reduce_sum(weights * splits, axis=0)

        def share(window: Window, kind: int, total: Tensor) -> Tensor:
            splits = window.splits_of(values, kind)
            return total * self._softmax(splits, window.real())[0]

        values = ascend(self._chart(scores), value, jit=self.jit)
        if self.single_root:
            # The chart spans the words only; the root takes one word at the end.
            words = tf.range(tf.shape(scores)[0] - 1)[:, None] < self.lengths
            top, _ = self._softmax(scores[0, 1:] + self._beside(values), words)
        else:
            # The root is the leftmost node of the chart.
            whole = tf.range(tf.shape(scores)[0])[:, None] == self.lengths
            top = tf.cast(whole, scores.dtype)
        return values, descend(*self._seeds(top), share, jit=self.jit), top

    def differentiate(
        self, upstream: Tensor, values: Spans, weights: Spans, top: Tensor
    ) -> tuple[Spans, Tensor]:
        """Returns the gradients of the spans' values and of the root's scores."""

        def value(window: Window, kind: int, splits: Tensor) -> Tensor:
            ours, _ = self._softmax(window.splits_of(values, kind), window.real())
            return tf.reduce_sum(ours * splits, axis=0)

        def share(window: Window, kind: int, total: Tensor) -> Tensor:
            splits = window.splits_of(values, kind)
            ours, splits = self._softmax(splits, window.real())
            above = window.splits_of(gains, kind)
            splits -= tf.reduce_sum(ours * splits, axis=0)
            above -= tf.reduce_sum(ours * above, axis=0)
            slope = total * splits + window.of_kind(weights, kind) * above
            return ours * (total + slope / self.temperatures)

        gains = ascend(self._chart(upstream), value, jit=self.jit)
        if self.single_root:
            above = upstream[0, 1:] + self._beside(gains)
            above -= tf.reduce_sum(top * above, axis=0)
            top = top * above / self.temperatures
        else:
            top = tf.zeros_like(top)
        return descend(*self._seeds(top), share, jit=self.jit), top

    def arcs(self, spans: Spans, top: Tensor) -> Tensor:
        """Returns a number for each arc, `[B, n+1, n+1]`, of a sweep downwards."""
        arcs = arcs_of(spans)
        if self.single_root:
            arcs = tf.concat([top[None], arcs], axis=0)
            arcs = tf.pad(arcs, [[0, 0], [1, 0], [0, 0]])
        nodes, batch = tf.shape(arcs)[0], tf.shape(arcs)[2]
        counts = tf.range(1, nodes)[:, None] <= self.lengths
        arcs = tf.pad(tf.where(counts, arcs[:, 1:], 0), [[0, 0], [1, 0], [0, 0]])
        arcs = tf.transpose(tf.reshape(arcs, [nodes * nodes, batch]))
        return tf.reshape(arcs, [batch, nodes, nodes])

    def _chart(self, parts: Tensor) -> Tensor:
        return parts[1:, 1:] if self.single_root else parts

    def _softmax(self, splits: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Returns softmax(splits / temperature) over axis 0, and splits - maximum.

        Both are 0 where not `real`."""
        zero = tf.zeros_like(splits)
        highest = tf.reduce_max(tf.where(real, splits, splits.dtype.min), axis=0)
        splits = tf.where(real, splits - highest, zero)
        weights = tf.where(real, tf.exp(splits / self.temperatures), zero)
        # The sum is at least 1, or 0 where nothing is real.
        return weights / tf.maximum(tf.reduce_sum(weights, axis=0), 1), splits

    def _last_spans(self, nodes: Tensor) -> Tensor:
        """`[N, N, B]` bool by width and start: the spans that end at the last word."""
        node = tf.range(nodes)
        return (node[:, None] + node)[..., None] == self.lengths - 1

    def _beside(self, spans: Spans) -> Tensor:
        """Returns left[0..r] + right[r..last] of each word r, `[n, B]`."""
        last = self._last_spans(tf.shape(spans.right)[0])
        right = tf.where(last, spans.right, tf.zeros_like(spans.right))
        return spans.left[:, 0] + tf.reduce_sum(right, axis=0)

    def _seeds(self, top: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what right and left spans get from the top: see `_beside`."""
        nodes = tf.shape(top)[0]
        first = tf.pad(top[:, None], [[0, 0], [0, nodes - 1], [0, 0]])
        if not self.single_root:
            return first, tf.zeros_like(first)
        return tf.where(self._last_spans(nodes), top, tf.zeros_like(first)), first


def _batch_last(parts: Tensor) -> Tensor:
    """`[B, n, n]` -> `[n, n, B]`, as the transposition of a matrix."""
    batch, nodes = tf.shape(parts)[0], tf.shape(parts)[1]
    parts = tf.transpose(tf.reshape(parts, [batch, nodes * nodes]))
    return tf.reshape(parts, [nodes, nodes, batch])
