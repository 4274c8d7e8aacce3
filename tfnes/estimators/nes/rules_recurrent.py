"""Rules of recurrent layers: noise on the gates before their nonlinearity.

At every step the gates x_t W + h_{t-1} U + b get noise with the law that they have from
noise on W, U and b given x_t and h_{t-1}: each position of an example has noise of its
own. The noise of all steps is drawn before the loop, and what the gradient needs of
them is recorded after it.

One noise for the batch is on the weights. A state depends on the noise of the steps
before, so a noise on the gates that all steps share cannot be drawn at once; and with
one for each step and example, R rows of it, the population would search 4 u R numbers
in the place of 4 u (inputs + u + 1), with a variance larger by about as much.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from tfnes.estimators.nes.layer_noise import LayerNoise
from tfnes.estimators.nes.records import Kernel
from tfnes.estimators.nes.rules import perturbation_rule
from tfnes.typing import Tensor

layers = keras.layers


def _supported(layer: keras.layers.RNN) -> bool:
    cell = layer.cell
    return not (
        layer.stateful
        or cell.dropout
        or cell.recurrent_dropout
        or not getattr(cell, "reset_after", True)
    )


@perturbation_rule(layers.LSTM, sublayers=True, applies=_supported)
def lstm(layer, noise: LayerNoise, sequences, initial_state=None, mask=None, **kwargs):
    """i, f, g, o from x W + h U + b, as `keras.layers.LSTM`."""
    if not noise.by_example:
        return noise.on_weights(layer, sequences, initial_state, mask, **kwargs)
    cell = layer.cell
    states = initial_state or layer.get_initial_state(tf.shape(sequences)[0])

    def step(gates, states):
        i, f, g, o = tf.split(gates, 4, axis=-1)
        carry = cell.recurrent_activation(f) * states[1]
        carry += cell.recurrent_activation(i) * cell.activation(g)
        return [cell.recurrent_activation(o) * cell.activation(carry), carry]

    x = _turn(layer, sequences)
    batch, steps, _ = tf.unstack(tf.shape(x))
    z = _draw(noise, x, 4 * cell.units)
    kernel, recurrent = (
        tf.cast(tf.convert_to_tensor(v), x.dtype)
        for v in (cell.kernel, cell.recurrent_kernel)
    )
    projected = tf.matmul(x, kernel)
    if cell.bias is not None:
        projected += tf.cast(tf.convert_to_tensor(cell.bias), x.dtype)
    squares = tf.square(noise.deviation(_square(x), cell.kernel, cell.bias))

    def gates_of(t, hidden):
        own = tf.square(noise.deviation(_square(hidden), cell.recurrent_kernel))
        deviation = tf.sqrt(squares[:, t] + own)
        result = projected[:, t] + tf.matmul(hidden, recurrent)
        return result + noise.sign * deviation[:, None] * z[:, t]

    outputs, states = _loop(layer, step, gates_of, list(states), steps, mask)
    before = _shift(outputs, states[2])
    own = tf.square(noise.deviation(_square(before), cell.recurrent_kernel))
    deviation = tf.reshape(tf.sqrt(squares + own), [-1])
    flat = tf.reshape(z, [-1, 4 * cell.units])
    rows = tf.repeat(tf.range(batch), steps)
    if mask is not None:
        flat = tf.where(tf.reshape(_turn(layer, mask), [-1, 1]), flat, 0.0)
    noise.source(outputs)
    _record(noise, x, (cell.kernel, cell.bias), flat, deviation, rows)
    _record(noise, before, (cell.recurrent_kernel, None), flat, deviation, rows)
    return _results(layer, outputs, states[:2])


@perturbation_rule(layers.GRU, sublayers=True, applies=_supported)
def gru(layer, noise: LayerNoise, sequences, initial_state=None, mask=None, **kwargs):
    """z, r, h from x W + b and h U + b', as `keras.layers.GRU`."""
    if not noise.by_example:
        return noise.on_weights(layer, sequences, initial_state, mask, **kwargs)
    cell = layer.cell
    states = initial_state or layer.get_initial_state(tf.shape(sequences)[0])
    states = list(states) if isinstance(states, (list, tuple)) else [states]
    x = _turn(layer, sequences)
    batch, steps, _ = tf.unstack(tf.shape(x))
    units = cell.units
    # The candidate takes r times its recurrent part: two noises, two deviations.
    z, z_recurrent = _draw(noise, x, 3 * units), _draw(noise, x, 3 * units)
    kernel, recurrent = (
        tf.cast(tf.convert_to_tensor(v), x.dtype)
        for v in (cell.kernel, cell.recurrent_kernel)
    )
    biases = [0.0, 0.0]
    if cell.bias is not None:
        biases = tf.unstack(tf.cast(tf.convert_to_tensor(cell.bias), x.dtype))
    bias = [
        None if cell.bias is None else Kernel(cell.bias, row, row + 1) for row in (0, 1)
    ]
    outer = noise.deviation(_square(x), cell.kernel, bias[0])
    projected = tf.matmul(x, kernel) + biases[0]
    projected += noise.sign * outer[..., None] * z

    def gates_of(t, hidden):
        inner = noise.deviation(_square(hidden), cell.recurrent_kernel, bias[1])
        result = tf.matmul(hidden, recurrent) + biases[1]
        result += noise.sign * inner[:, None] * z_recurrent[:, t]
        return projected[:, t], result

    def step(gates, states):
        from_x, from_h = (tf.split(part, 3, axis=-1) for part in gates)
        update = cell.recurrent_activation(from_x[0] + from_h[0])
        reset = cell.recurrent_activation(from_x[1] + from_h[1])
        candidate = cell.activation(from_x[2] + reset * from_h[2])
        return [update * states[0] + (1 - update) * candidate]

    outputs, states = _loop(layer, step, gates_of, states, steps, mask)
    before = _shift(outputs, states[1])
    inner = noise.deviation(_square(before), cell.recurrent_kernel, bias[1])
    rows = tf.repeat(tf.range(batch), steps)
    flat = [tf.reshape(part, [-1, 3 * units]) for part in (z, z_recurrent)]
    if mask is not None:
        real = tf.reshape(_turn(layer, mask), [-1, 1])
        flat = [tf.where(real, part, 0.0) for part in flat]
    noise.source(outputs)
    outer, inner = tf.reshape(outer, [-1]), tf.reshape(inner, [-1])
    _record(noise, x, (cell.kernel, bias[0]), flat[0], outer, rows)
    _record(noise, before, (cell.recurrent_kernel, bias[1]), flat[1], inner, rows)
    return _results(layer, outputs, states[:1])


def _draw(noise: LayerNoise, x: Tensor, size: int) -> Tensor:
    """Returns normal numbers for each step, `[B, T, size]`."""
    batch, steps, _ = tf.unstack(tf.shape(x))
    values = noise.normals(
        size,
        rows=tf.repeat(tf.range(batch), steps),
        offset=tf.tile(tf.range(steps), [batch]),
    )
    return tf.cast(tf.reshape(values, [batch, steps, size]), x.dtype)


def _loop(layer, step, gates_of, states: list[Tensor], steps: Tensor, mask):
    """Returns outputs `[B, T, u]`, and the last states with the first output beside."""
    first = states[0]
    if mask is not None:
        mask = _turn(layer, mask)
    array = tf.TensorArray(first.dtype, steps, element_shape=first.shape)

    def body(t, states, array):
        new = step(gates_of(t, states[0]), states)
        if mask is not None:
            # A masked step leaves the states, and so the output, as they are.
            real = mask[:, t, None]
            new = [tf.where(real, n, s) for n, s in zip(new, states, strict=True)]
        return t + 1, new, array.write(t, new[0])

    _, states, array = tf.while_loop(
        lambda t, *_: t < steps, body, (tf.constant(0), states, array)
    )
    return tf.transpose(array.stack(), [1, 0, 2]), [*states, first]


def _shift(outputs: Tensor, first: Tensor) -> Tensor:
    """Returns the state before each step."""
    return tf.concat([first[:, None], outputs[:, :-1]], axis=1)


def _record(noise: LayerNoise, x, kernels, flat, deviation, rows) -> None:
    x = tf.reshape(x, [-1, x.shape[-1]])
    noise.record(x, kernels, flat, deviation, rows=rows)


def _square(x: Tensor) -> Tensor:
    return tf.reduce_sum(tf.square(x), -1)


def _turn(layer, sequences: Tensor) -> Tensor:
    return tf.reverse(sequences, [1]) if layer.go_backwards else sequences


def _results(layer, outputs: Tensor, states: list[Tensor]):
    result = outputs if layer.return_sequences else outputs[:, -1]
    return (result, *states) if layer.return_state else result
