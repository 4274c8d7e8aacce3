"""LSTM and bidirectional LSTM on packed sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from tfnes.checks import check_flag, check_integer
from tfnes.models.layers.initializers import LSTMBias, StackedGlorot
from tfnes.models.layers.packing import PackedLayout
from tfnes.registration import register
from tfnes.solvers import batching
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
        self.units = check_integer("PackedLSTM.units", units, minimum=1)
        self.bidirectional = check_flag("PackedLSTM.bidirectional", bidirectional)

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
        kernels = tf.split(tf.convert_to_tensor(self.kernel), self.directions, axis=1)
        gates = []
        for direction, kernel in enumerate(kernels):
            reads, tokens = places, inputs
            if direction and places is None:
                tokens = tf.gather(inputs, layout.reverse)
            elif direction:
                reads = tf.gather(places, layout.reverse)
            projected = tf.nn.bias_add(tf.matmul(tokens, kernel), self.bias[direction])
            gates.append(projected if reads is None else tf.gather(projected, reads))
        recurrent = tf.unstack(
            tf.convert_to_tensor(self.recurrent_kernel), num=self.directions
        )
        if batching.static_shapes():
            states = _recur_all_rows(gates, recurrent, *layout.index.shape)
        else:
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
    """Runs one LSTM for each of `gates` `[P, 4u]`; returns their states `[P, u]`.

    The gradient is written out. All that can be done for all tokens at once is taken
    out of the loop over time, which makes training several times faster than the
    gradient of the loop.
    """
    directions = len(gates)
    ends = tf.cumsum(counts)
    starts = ends - counts

    @tf.custom_gradient
    def recur(*inputs):
        gates, kernels = inputs[:directions], inputs[directions:]
        hidden, cells = _forward(gates, kernels, starts, ends)

        def gradient(*upstream):
            upstream = [tf.convert_to_tensor(d) for d in upstream]
            local = []
            for z, kernel, h, c in zip(gates, kernels, hidden, cells, strict=True):
                h, c_before = _before(h, counts), _before(c, counts)
                local.append(
                    (h, *_local_gradients(z + tf.matmul(h, kernel), c_before, c))
                )
            d_gates = _backward(upstream, kernels, local, starts, ends)
            d_kernels = [
                tf.matmul(h, dz, transpose_a=True)
                for (h, *_), dz in zip(local, d_gates, strict=True)
            ]
            return *d_gates, *d_kernels

        return hidden, gradient

    return list(recur(*gates, *kernels))


def _recur_all_rows(
    gates: list[Tensor], kernels: list[Tensor], rows: int, steps: int
) -> list[Tensor]:
    """`_recur` on tokens that keep their padding: all rows run for all times."""
    units = kernels[0].shape[0]
    dtype = gates[0].dtype
    frames = [tf.reshape(z, [steps, rows, 4 * units]) for z in gates]
    zeros = [tf.zeros([rows, units], dtype) for _ in gates]

    def body(t, hidden, cells, written):
        states = [
            _cell(z[t] + tf.matmul(h, kernel), c)
            for z, kernel, h, c in zip(frames, kernels, hidden, cells, strict=True)
        ]
        hidden, cells = map(list, zip(*states, strict=True))
        written = [w.write(t, h) for w, h in zip(written, hidden, strict=True)]
        return t + 1, hidden, cells, written

    _, _, _, written = tf.while_loop(
        lambda t, *_: t < steps,
        body,
        (
            tf.constant(0),
            zeros,
            zeros,
            [tf.TensorArray(dtype, steps, element_shape=[rows, units]) for _ in gates],
        ),
        maximum_iterations=steps,
    )
    return [tf.reshape(array.stack(), [-1, units]) for array in written]


def _cell(z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the next hidden state and cell of gates before their nonlinearity."""
    i, f, g, o = tf.split(z, 4, axis=1)
    c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
    return tf.sigmoid(o) * tf.tanh(c), c


class GateNoise(NamedTuple):
    """Noise on the gates of one direction, sqrt(variance + factor |h|^2) Z.

    Attributes:
      noise: `[P, 4u]` Z.
      variance: `[P]`.
      factor: `[]`.
    """

    noise: Tensor
    variance: Tensor
    factor: Tensor

    def at(self, rows: slice, hidden: Tensor) -> Tensor:
        """Returns the noise of some tokens after the states `hidden` `[n, u]`."""
        own = self.factor * tf.reduce_sum(tf.square(hidden), axis=1)
        return tf.sqrt(self.variance[rows] + own)[:, None] * self.noise[rows]


def run_directions(
    gates: list[Tensor],
    kernels: list[Tensor],
    counts: Tensor,
    *,
    noises: Sequence[GateNoise | None],
) -> tuple[list[Tensor], list[Tensor]]:
    """Runs LSTMs with noise on the gates, not differentiable.

    Args:
      gates: `[P, 4u]` of each direction, in its own order.
      kernels: `[u, 4u]` of each direction.
      counts: of the layout.
      noises: of each direction.

    Returns:
      The states after and before each token, `[P, u]` for each direction.
    """
    ends = tf.cumsum(counts)
    hidden, _ = _forward(gates, kernels, ends - counts, ends, noises)
    return hidden, [_before(states, counts) for states in hidden]


def _before(states: Tensor, counts: Tensor) -> Tensor:
    """Returns `[P, ...]`, the same sentence's state one token earlier, 0 at first."""
    first = counts[0]
    places = tf.range(tf.shape(states)[0]) - tf.repeat(
        tf.concat([counts[:1], counts[:-1]], 0), counts
    )
    return tf.pad(tf.gather(states, places[first:]), [[first, 0], [0, 0]])


def _forward(gates, kernels, starts: Tensor, ends: Tensor, noises=(None, None)):
    """Returns the hidden states and the cells of all tokens, `[P, u]` each."""
    units = kernels[0].shape[0]
    dtype = gates[0].dtype
    steps = tf.shape(ends)[0]
    zeros = [tf.zeros([ends[0], units], dtype) for _ in gates]
    empty = [
        tf.TensorArray(dtype, steps, element_shape=[None, units], infer_shape=False)
        for _ in range(2 * len(gates))
    ]

    def body(t, hidden, cells, written):
        start, end = starts[t], ends[t]
        new_hidden, new_cells = [], []
        for z, kernel, h, c, noise in zip(
            gates, kernels, hidden, cells, noises, strict=False
        ):
            n = end - start
            z = z[start:end] + tf.matmul(h[:n], kernel)
            if noise is not None:
                z += noise.at(slice(start, end), h[:n])
            h, c = _cell(z, c[:n])
            new_hidden.append(h)
            new_cells.append(c)
        values = new_hidden + new_cells
        written = [w.write(t, v) for w, v in zip(written, values, strict=True)]
        return t + 1, new_hidden, new_cells, written

    state = [tf.TensorShape([None, units]) for _ in gates]
    _, _, _, written = tf.while_loop(
        lambda t, *_: t < steps,
        body,
        (tf.constant(0), zeros, zeros, empty),
        shape_invariants=(
            tf.TensorShape([]),
            state,
            state,
            [tf.TensorShape(None) for _ in empty],
        ),
    )
    written = [array.concat() for array in written]
    return written[: len(gates)], written[len(gates) :]


def _local_gradients(z: Tensor, c_before: Tensor, c: Tensor):
    """Returns what the loop of `_backward` multiplies by, for all tokens.

    Args:
      z: `[P, 4u]`, gates before their nonlinearity.
      c_before: `[P, u]`, cells of the previous tokens.
      c: `[P, u]`, cells.

    Returns:
      dz / d(c, c, c, h) `[P, 4u]` (the output gate reaches h alone), dh / dc and
      dc / dc_before, `[P, u]` each.
    """
    i, f, g, o = tf.split(z, 4, axis=1)
    i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
    tanh_c = tf.tanh(c)
    by_gate = [
        g * i * (1 - i),
        c_before * f * (1 - f),
        i * (1 - tf.square(g)),
        tanh_c * o * (1 - o),
    ]
    return tf.concat(by_gate, axis=1), o * (1 - tf.square(tanh_c)), f


def _backward(upstream, kernels, local, starts: Tensor, ends: Tensor) -> list[Tensor]:
    """Returns the gradients of the gates `[P, 4u]`, from the last time to the first."""
    units = kernels[0].shape[0]
    dtype = upstream[0].dtype
    steps = tf.shape(ends)[0]
    none = [tf.zeros([0, units], dtype) for _ in kernels]
    empty = [
        tf.TensorArray(dtype, steps, element_shape=[None, 4 * units], infer_shape=False)
        for _ in kernels
    ]

    def body(t, d_hidden, d_cells, written):
        now = slice(starts[t], ends[t])
        # Sentences that end at t come in here.
        grow = [[0, ends[t] - starts[t] - tf.shape(d_hidden[0])[0]], [0, 0]]
        new_hidden, new_cells, new_written = [], [], []
        for d_out, kernel, (_, by_gate, by_cell, forget), dh, dc, array in zip(
            upstream, kernels, local, d_hidden, d_cells, written, strict=True
        ):
            dh = d_out[now] + tf.pad(dh, grow)
            dc = dh * by_cell[now] + tf.pad(dc, grow)
            dz = tf.concat([dc, dc, dc, dh], axis=1) * by_gate[now]
            new_hidden.append(tf.matmul(dz, kernel, transpose_b=True))
            new_cells.append(dc * forget[now])
            new_written.append(array.write(t, dz))
        return t - 1, new_hidden, new_cells, new_written

    state = [tf.TensorShape([None, units]) for _ in kernels]
    *_, written = tf.while_loop(
        lambda t, *_: t >= 0,
        body,
        (steps - 1, none, none, empty),
        shape_invariants=(
            tf.TensorShape([]),
            state,
            state,
            [tf.TensorShape(None) for _ in empty],
        ),
    )
    return [array.concat() for array in written]
