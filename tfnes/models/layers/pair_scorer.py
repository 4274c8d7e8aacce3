"""The scorer of (head, modifier) pairs of Kiperwasser & Goldberg (2016)."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfnes.checks import check_flag, check_integer
from tfnes.models.layers.initializers import DimensionUniform
from tfnes.registration import register
from tfnes.solvers.batching import compiled
from tfnes.typing import Tensor

_LIMIT = 40.0


@register("layer")
class PairScorer(keras.layers.Layer):
    """score(h, m) = W_o tanh(W_h v_h + W_m v_m + b) [+ b_o].

    One output and no b_o for arcs, one output for each relation for labels.

    Args:
      units: size of the hidden layer.
      outputs: number of scores of one pair.
      use_output_bias: whether b_o is there.

    References:
      Kiperwasser & Goldberg 2016, "Simple and accurate dependency parsing using
      bidirectional LSTM feature representations".
    """

    def __init__(
        self, units: int, *, outputs: int = 1, use_output_bias: bool = False, **kwargs
    ):
        super().__init__(**kwargs)
        self.units = check_integer("PairScorer.units", units, minimum=1)
        self.outputs = check_integer("PairScorer.outputs", outputs, minimum=1)
        self.use_output_bias = check_flag("PairScorer.use_output_bias", use_output_bias)

    def build(self, input_shape):
        features = input_shape[-1]
        for name in ("head_kernel", "modifier_kernel"):
            weight = self.add_weight(
                name=name, shape=(features, self.units), initializer="glorot_uniform"
            )
            setattr(self, name, weight)
        self.bias = self.add_weight(
            name="bias", shape=(self.units,), initializer=DimensionUniform()
        )
        self.output_kernel = self.add_weight(
            name="output_kernel",
            shape=(self.units, self.outputs),
            initializer="glorot_uniform",
        )
        if self.use_output_bias:
            self.output_bias = self.add_weight(
                name="output_bias",
                shape=(self.outputs,),
                initializer=DimensionUniform(),
            )

    def project(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Returns W_h v + b and W_m v of `nodes` `[..., D]`, each `[..., units]`."""
        return (
            tf.matmul(nodes, self.head_kernel) + self.bias,
            tf.matmul(nodes, self.modifier_kernel),
        )

    def pair_kernel(self) -> Tensor:
        """Returns W_o of the first score, `[1, units]`."""
        return self.output_kernel[None, :, 0]

    def all_pairs(self, heads: Tensor, modifiers: Tensor, kernel: Tensor) -> Tensor:
        """Returns the first score of every pair, `[B, n, n]`, rows are heads.

        Projections past 40 in size count as 40.

        Args:
          heads: `[B, n, units]`, first result of `project`.
          modifiers: `[B, n, units]`, second result of `project`.
          kernel: `[1, units]`, result of `pair_kernel`; or `[B, units]`, one for each
            example, and then not differentiable.
        """
        if kernel.shape[0] == 1:
            return _score_all_pairs(heads, modifiers, kernel[0])
        return _value(heads, modifiers, kernel[:, None])

    def call(self, heads: Tensor, modifiers: Tensor) -> Tensor:
        """Returns the scores of aligned pairs, `[..., outputs]`.

        Args:
          heads: `[..., units]`, first result of `project`.
          modifiers: `[..., units]`, second result of `project`.
        """
        scores = tf.matmul(tf.tanh(heads + modifiers), self.output_kernel)
        return scores + self.output_bias if self.use_output_bias else scores

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "outputs": self.outputs,
            "use_output_bias": self.use_output_bias,
        }


@tf.custom_gradient
def _score_all_pairs(heads: Tensor, modifiers: Tensor, kernel: Tensor):
    """Returns sum_k kernel_k tanh(heads_k + modifiers_k) of all pairs, `[B, n, n]`."""

    def gradient(upstream):
        return _gradient(heads, modifiers, kernel, upstream)

    return _value(heads, modifiers, kernel), gradient


# A tanh of every pair is most of the work. By
#
#     tanh(a + b) = 1 - 2 / (1 + exp(2a) exp(2b))
#
# the exponentials are of nodes, and a pair takes one product and one division: as
# exact, and 2.5 times as fast. The products with the kernel are matrix products,
# because reductions over many units would be done step by step.


@compiled
def _value(heads: Tensor, modifiers: Tensor, kernel: Tensor) -> Tensor:
    heads, modifiers = _exponential(heads), _exponential(modifiers)
    hidden = 1 - 2 / (1 + heads[:, :, None, :] * modifiers[:, None, :, :])
    return tf.linalg.matvec(hidden, kernel)


@compiled
def _gradient(heads: Tensor, modifiers: Tensor, kernel: Tensor, upstream: Tensor):
    """Goes over the heads, so that the pairs of one head at a time stay in cache."""
    heads, modifiers = _exponential(heads), _exponential(modifiers)
    nodes, units = tf.shape(heads)[1], tf.size(kernel)

    def body(i: Tensor, d_heads: tf.TensorArray, d_modifiers: Tensor, d_kernel: Tensor):
        share = 1 / (1 + heads[:, i, None, :] * modifiers)
        slope = share * (1 - share)  # A quarter of that of the tanh.
        above = upstream[:, i]
        d_heads = d_heads.write(i, tf.linalg.matvec(slope, above, transpose_a=True))
        d_modifiers += above[:, :, None] * slope
        hidden = tf.reshape(1 - 2 * share, [-1, units])
        above = tf.reshape(above, [-1])
        d_kernel += tf.linalg.matvec(hidden, above, transpose_a=True)
        return i + 1, d_heads, d_modifiers, d_kernel

    shape = heads[:, 0].shape
    d_heads = tf.TensorArray(heads.dtype, nodes, element_shape=shape)
    start = (0, d_heads, tf.zeros_like(modifiers), tf.zeros_like(kernel))
    _, d_heads, d_modifiers, d_kernel = tf.while_loop(
        lambda i, *_: i < nodes, body, start, maximum_iterations=nodes
    )
    d_heads = tf.transpose(d_heads.stack(), [1, 0, 2])
    return 4 * kernel * d_heads, 4 * kernel * d_modifiers, d_kernel


def _exponential(projected: Tensor) -> Tensor:
    # Past 40 a tanh has been 1 for long, and no product of two may be inf * 0.
    return tf.exp(2 * tf.clip_by_value(projected, -_LIMIT, _LIMIT))
