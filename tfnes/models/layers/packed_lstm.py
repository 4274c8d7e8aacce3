"""LSTM and bidirectional LSTM on packed sentences."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfnes.models.layers.initializers import LSTMBias, StackedGlorot
from tfnes.models.layers.packing import PackedLayout
from tfnes.registration import register
from tfnes.typing import Tensor


@register("layer")
class PackedLSTM(keras.layers.Layer):
    """An LSTM over packed sentences, both directions in one loop over time.

        i, f, g, o = split(x_t W + h_{t-1} U + b)
        c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)
        h_t = sigmoid(o) tanh(c_t)

    Equal to `keras.layers.LSTM` (or `Bidirectional`) with a mask, but at time t only
    the sentences that are still running are computed. The gates are in Keras' order;
    the weights of the directions lie side by side: `kernel` `[in, D * 4u]`,
    `recurrent_kernel` `[D, u, 4u]`, `bias` `[D, 4u]` for D directions and u units.

    Args:
      units: size u of the state of one direction.
      bidirectional: whether a second LSTM reads every sentence backwards.
    """

    def __init__(self, units: int, *, bidirectional: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.bidirectional = bidirectional

    @property
    def directions(self) -> int:
        """1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """Features of one output token."""
        return self.directions * self.units

    def build(self, input_shape):
        gates = 4 * self.units
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.directions * gates),
            initializer=StackedGlorot(blocks=self.directions),
        )
        self.recurrent_kernel = self.add_weight(
            name="recurrent_kernel",
            shape=(self.directions, self.units, gates),
            initializer=StackedGlorot(),
        )
        self.bias = self.add_weight(
            name="bias", shape=(self.directions, gates), initializer=LSTMBias()
        )

    def call(
        self, inputs: Tensor, layout: PackedLayout, places: Tensor | None = None
    ) -> Tensor:
        """Returns the states of all tokens, `[P, D * u]`.

        Args:
          inputs: `[P, in]` packed tokens, or `[R, in]` distinct rows with `places`.
          layout: of the sentences.
          places: `[P]` int32, the row of `inputs` that each token reads: every
            distinct row is multiplied by the kernel once.
        """
        projected = tf.matmul(inputs, self.kernel) + tf.reshape(self.bias, [1, -1])
        gates = tf.split(projected, self.directions, axis=1)
        if places is not None or self.bidirectional:
            if places is None:
                places = tf.range(layout.size)
            reads = [places, tf.gather(places, layout.reverse)]
            gates = [tf.gather(g, p) for g, p in zip(gates, reads, strict=False)]
        recurrent = tf.unstack(
            tf.convert_to_tensor(self.recurrent_kernel), num=self.directions
        )
        states = _recur(gates, recurrent, layout.counts)
        if self.bidirectional:
            states[1] = tf.gather(states[1], layout.reverse)
        return tf.concat(states, axis=1)

    def compute_output_shape(self, input_shape, *args, **kwargs):
        return (None, self.output_size)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "bidirectional": self.bidirectional,
        }


def _recur(gates: list[Tensor], kernels: list[Tensor], counts: Tensor) -> list[Tensor]:
    """Runs one LSTM for each of `gates` `[P, 4u]`; returns their states `[P, u]`."""
    units = kernels[0].shape[0]
    dtype = gates[0].dtype
    steps = tf.shape(counts)[0]
    reads = [
        tf.TensorArray(
            dtype, steps, element_shape=[None, 4 * units], infer_shape=False
        ).split(g, counts)
        for g in gates
    ]
    writes = [
        tf.TensorArray(dtype, steps, element_shape=[None, units], infer_shape=False)
        for _ in gates
    ]
    zeros = [tf.zeros([counts[0], units], dtype) for _ in gates]

    def body(t, hidden, cells, writes):
        n = counts[t]
        new = ([], [], [])
        for h, c, kernel, read, write in zip(
            hidden, cells, kernels, reads, writes, strict=True
        ):
            i, f, g, o = tf.split(read.read(t) + tf.matmul(h[:n], kernel), 4, axis=1)
            c = tf.sigmoid(f) * c[:n] + tf.sigmoid(i) * tf.tanh(g)
            h = tf.sigmoid(o) * tf.tanh(c)
            for kept, value in zip(new, (h, c, write.write(t, h)), strict=True):
                kept.append(value)
        return t + 1, *new

    state = [tf.TensorShape([None, units]) for _ in gates]
    _, _, _, writes = tf.while_loop(
        lambda t, *_: t < steps,
        body,
        (tf.constant(0), zeros, zeros, writes),
        shape_invariants=(
            tf.TensorShape([]),
            state,
            state,
            [tf.TensorShape(None) for _ in gates],
        ),
    )
    return [write.concat() for write in writes]
