"""The encoder of Neural Relational Inference: from trajectories to edge weights."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfnes.registration import register
from tfnes.typing import Tensor

_EPSILON = 1e-5


@register("layer")
class BatchStatistics(keras.layers.Layer):
    """Batch normalization as the affine map that it is: `scale`, `shift`.

        y = gamma (x - mean) / sqrt(variance + 1e-5) + beta = scale x + shift

    Whoever multiplies y by a matrix or sums it folds the map in, and the normalized
    tensor is never formed. In training, mean and variance are the batch's own, and the
    moving ones advance; otherwise they are the moving ones.

    Args:
      momentum: of the moving statistics.
    """

    def __init__(self, *, momentum: float = 0.9, **kwargs):
        super().__init__(**kwargs)
        self.momentum = momentum

    def build(self, input_shape):
        units = (input_shape[-1],)
        self.gamma = self.add_weight(name="gamma", shape=units, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=units, initializer="zeros")
        self.moving_mean, self.moving_variance = (
            self.add_weight(
                name=name,
                shape=units,
                initializer=initializer,
                trainable=False,
                aggregation="mean",
            )
            for name, initializer in (
                ("moving_mean", "zeros"),
                ("moving_variance", "ones"),
            )
        )

    def call(self, inputs: Tensor, training: bool = False) -> tuple[Tensor, Tensor]:
        """Returns scale and shift, `[units]` each, for inputs `[rows, units]`."""
        if training:
            mean, variance = tf.nn.moments(inputs, axes=[0])
            for moving, value in (
                (self.moving_mean, mean),
                (self.moving_variance, variance),
            ):
                moved = self.momentum * moving
                moved += (1 - self.momentum) * tf.stop_gradient(value)
                # One bad batch, of which no update is made, must not stay in here.
                kept = tf.convert_to_tensor(moving)
                moving.assign(tf.where(tf.math.is_finite(moved), moved, kept))
        else:
            mean = tf.convert_to_tensor(self.moving_mean)
            variance = tf.convert_to_tensor(self.moving_variance)
        scale = self.gamma * tf.math.rsqrt(variance + _EPSILON)
        return scale, self.beta - mean * scale

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "momentum": self.momentum}


@register("layer")
class NRIEncoder(keras.layers.Layer):
    """The factor-graph encoder ("MLP encoder") of NRI, one logit for each edge.

    With blocks f_i = BatchNorm(ELU(Linear(ELU(Linear(.))))):

        v_j = f_1(trajectory of vertex j)
        e_jk = f_2([v_j, v_k])                    for each directed edge j -> k
        u_k = f_3(1/n sum_j e_jk)
        l_jk = w f_4([u_j, u_k, e_jk]) + b        logit of the directed edge
        h_{j,k} = (l_jk + l_kj) / 2               log-potential of the edge {j, k}

    Weights start Xavier-normal, biases at 0.1. The first layer of f_2 and f_4 is
    applied to vertices and added up over pairs, and batch normalization is folded into
    what follows: the same function at a fraction of the products.

    Args:
      hidden_units: width of all blocks.

    References:
      Kipf et al. 2018, "Neural relational inference for interacting systems", Eqs.
      5-8. Paulus et al. 2020, appendix (one symmetric logit, init).
    """

    def __init__(self, *, hidden_units: int = 256, **kwargs):
        super().__init__(**kwargs)
        self.hidden_units = hidden_units
        self.statistics = [BatchStatistics(name=f"norm_{i}") for i in range(1, 5)]

    def build(self, positions_shape):
        _, timesteps, _, features = positions_shape
        h = self.hidden_units
        inputs = (timesteps * features, 2 * h, h, 3 * h)
        self.blocks = [
            (
                *self._linear(f"block_{i}_first", size, h),
                *self._linear(f"block_{i}_second", h, h),
            )
            for i, size in enumerate(inputs, start=1)
        ]
        self.kernel, self.bias = self._linear("logit", h, 1)
        for statistics in self.statistics:
            statistics.build((None, h))

    def _linear(self, name: str, inputs: int, units: int):
        kernel = self.add_weight(
            name=f"{name}_kernel",
            shape=(inputs, units),
            initializer=keras.initializers.VarianceScaling(
                mode="fan_avg", distribution="untruncated_normal"
            ),
        )
        bias = self.add_weight(
            name=f"{name}_bias",
            shape=(units,),
            initializer=keras.initializers.Constant(0.1),
        )
        return kernel, bias

    def call(self, positions: Tensor, training: bool = False) -> Tensor:
        """Returns log-potentials `[B, E]` of positions `[B, T, n, features]`."""
        _, timesteps, n, features = positions.shape
        h = self.hidden_units
        senders, forward, backward = pair_tables(n)

        def nodes_to_pairs(sender: Tensor, receiver: Tensor) -> Tensor:
            """Adds rows of `[B * n, h]` over all pairs: `[B * n * (n - 1), h]`."""
            sender = tf.gather(tf.reshape(sender, [-1, n, h]), senders, axis=1)
            sender = tf.reshape(sender, [-1, n - 1, h])
            return tf.reshape(sender + receiver[:, None], [-1, h])

        # f_1, on vertices.
        first, first_bias, second, second_bias = self.blocks[0]
        x = tf.transpose(positions, [0, 2, 1, 3])
        x = tf.reshape(x, [-1, timesteps * features])
        x = _elu_layer(_elu_layer(x, first, first_bias), second, second_bias)
        scale, shift = self.statistics[0](x, training=training)
        x = x * scale + shift
        # f_2, on directed edges.
        first, first_bias, second, second_bias = self.blocks[1]
        first = tf.convert_to_tensor(first)
        pairs = nodes_to_pairs(
            tf.matmul(x, first[:h]), _linear_layer(x, first[h:], first_bias)
        )
        edges = _elu_layer(tf.nn.elu(pairs), second, second_bias)
        edge_scale, edge_shift = self.statistics[1](edges, training=training)
        # f_3, on the sums over what comes in; their mean is over n, not n - 1.
        total = tf.reduce_sum(tf.reshape(edges, [-1, n - 1, h]), axis=1)
        x = total * (edge_scale / n) + edge_shift * ((n - 1) / n)
        first, first_bias, second, second_bias = self.blocks[2]
        x = _elu_layer(_elu_layer(x, first, first_bias), second, second_bias)
        scale, shift = self.statistics[2](x, training=training)
        x = x * scale + shift
        # f_4, on directed edges again.
        first, first_bias, second, second_bias = self.blocks[3]
        first = tf.convert_to_tensor(first)
        skip = first[2 * h :]
        constant = first_bias + tf.linalg.matvec(skip, edge_shift, transpose_a=True)
        pairs = nodes_to_pairs(
            tf.matmul(x, first[:h]), _linear_layer(x, first[h : 2 * h], constant)
        )
        pairs += tf.matmul(edges, edge_scale[:, None] * skip)
        edges = _elu_layer(tf.nn.elu(pairs), second, second_bias)
        scale, shift = self.statistics[3](edges, training=training)
        # The logit, of both directions.
        kernel = scale[:, None] * self.kernel
        logits = tf.matmul(edges, kernel) + tf.matmul(shift[None], self.kernel)
        logits = tf.reshape(logits + self.bias, [-1, n * (n - 1)])
        both = tf.gather(logits, forward, axis=1) + tf.gather(logits, backward, axis=1)
        return 0.5 * both

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden_units": self.hidden_units}


def pair_tables(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns tables for directed edges j -> k in the order of k, then (j - k) mod n.

    Returns:
      senders: `[n * (n - 1)]`, the vertex j of each directed edge.
      forward: `[E]`, where the edge i -> j stands for each i < j, row-major.
      backward: `[E]`, where j -> i stands.
    """
    receiver, offset = np.divmod(np.arange(n * (n - 1)), max(n - 1, 1))
    rows, columns = np.triu_indices(n, k=1)
    return (
        (receiver + offset + 1) % n,
        columns * (n - 1) + (rows - columns - 1) % n,
        rows * (n - 1) + (columns - rows - 1) % n,
    )


def _linear_layer(x: Tensor, kernel, bias) -> Tensor:
    return tf.nn.bias_add(tf.matmul(x, kernel), bias)


def _elu_layer(x: Tensor, kernel, bias) -> Tensor:
    # In this form TensorFlow fuses the three operations.
    return tf.nn.elu(_linear_layer(x, kernel, bias))
