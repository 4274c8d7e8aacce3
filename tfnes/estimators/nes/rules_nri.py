"""The rule of the NRI encoder, without its normalization; the decoder has none."""

from __future__ import annotations

import tensorflow as tf

from tfnes.estimators.nes.layer_noise import LayerNoise
from tfnes.estimators.nes.records import Kernel
from tfnes.estimators.nes.rules import perturbation_rule
from tfnes.models.nri_encoder import NRIEncoder, pair_tables
from tfnes.typing import Tensor


@perturbation_rule(NRIEncoder)
def nri_encoder(layer, noise: LayerNoise, positions, training=False):
    """Vertices and directed edges are the positions of an example.

    Batch normalization is not folded into what follows, as the layer does it: the
    noise of a product needs its inputs.
    """
    _, timesteps, n, features = positions.shape
    h = layer.hidden_units
    senders, forward, backward = pair_tables(n)

    dense = noise.dense

    def normalize(number: int, x: Tensor) -> Tensor:
        rows = tf.reshape(x, [-1, h])
        scale, shift = layer.statistics[number](rows, training=training)
        return x * scale + shift

    def second(number: int, hidden: Tensor) -> Tensor:
        _, _, kernel, bias = layer.blocks[number]
        hidden = tf.nn.elu(dense(tf.nn.elu(hidden), kernel, bias))
        return normalize(number, hidden)

    def pairs(number: int, x: Tensor) -> Tensor:
        kernel, bias, _, _ = layer.blocks[number]
        sender = tf.gather(dense(x, Kernel(kernel, 0, h), None), senders, axis=1)
        receiver = dense(x, Kernel(kernel, h, 2 * h), bias)
        return sender + tf.repeat(receiver, n - 1, axis=1)

    x = tf.transpose(positions, [0, 2, 1, 3])
    x = tf.reshape(x, [-1, n, timesteps * features])
    kernel, bias, _, _ = layer.blocks[0]
    x = second(0, dense(x, kernel, bias))
    edges = second(1, pairs(1, x))
    total = tf.reduce_sum(tf.reshape(edges, [-1, n, n - 1, h]), axis=2)
    kernel, bias, _, _ = layer.blocks[2]
    x = second(2, dense(total / n, kernel, bias))
    hidden = pairs(3, x)
    hidden += dense(edges, Kernel(layer.blocks[3][0], 2 * h, 3 * h), None)
    logits = dense(second(3, hidden), layer.kernel, layer.bias)[:, :, 0]
    both = tf.gather(logits, forward, axis=1) + tf.gather(logits, backward, axis=1)
    return 0.5 * both
