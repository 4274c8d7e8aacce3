"""Rules of the parser's layers; the tree decoder has none."""

from __future__ import annotations

import tensorflow as tf

from tfnes.errors import ConfigurationError
from tfnes.estimators.nes.layer_noise import LayerNoise
from tfnes.estimators.nes.records import Kernel
from tfnes.estimators.nes.rules import perturbation_rule
from tfnes.models.layers import PackedLSTM, PairScorer
from tfnes.models.layers.packed_lstm import GateNoise, run_directions
from tfnes.models.parser_encoder import ParserEncoder
from tfnes.solvers import batching


@perturbation_rule(ParserEncoder)
def parser_encoder(layer, noise: LayerNoise, inputs, vectors=None, masks=None):
    """Direct noise on the embeddings that are used.

    With noise of its own for each example a word has another vector in each sentence,
    so distinct words have nothing in common.
    """
    if batching.static_shapes():
        raise ConfigurationError(
            "Where shapes must be static a parser computes its padding too, and noise "
            "on what its layers compute would fall on it. Expected NES(noise="
            "'weights'). Received: noise on what layers compute."
        )
    words, places = inputs.words, inputs.places
    external, rows = inputs.external, inputs.layout.rows
    if noise.by_example:
        words, places = tf.gather(words, places), None
        if external is not None:
            external = tf.gather(external, inputs.places)
    nodes = noise.gather(layer.embedding, words, rows=rows)
    if vectors is not None:
        nodes = tf.concat([nodes, tf.gather(vectors, external)], axis=1)
    for i, lstm in enumerate(layer.lstms):
        nodes = lstm(nodes, inputs.layout, places)
        places = None
        if masks is not None:
            nodes *= tf.gather(masks[i], rows)
    return nodes


@perturbation_rule(PackedLSTM)
def packed_lstm(layer, noise: LayerNoise, inputs, layout, places=None):
    """Noise on the gates before their nonlinearity, of each token its own."""
    if not noise.by_example:
        return noise.on_weights(layer, inputs, layout, places)
    if places is not None:
        inputs = tf.gather(inputs, places)
    size, count = 4 * layer.units, layer.directions
    projected = tf.matmul(inputs, layer.kernel) + tf.reshape(layer.bias, [-1])
    squares = tf.reduce_sum(tf.square(inputs), 1)
    variance = tf.square(noise.deviation(squares, layer.kernel, layer.bias))
    factor = tf.square(noise.deviation(tf.ones([]), layer.recurrent_kernel))
    drawn = noise.normals(count * size, rows=layout.rows, offset=layout.times)
    gates, noises = [], []
    for direction, (gate, z) in enumerate(
        zip(tf.split(projected, count, 1), tf.split(drawn, count, 1), strict=True)
    ):
        own = variance
        if direction:
            gate, own = tf.gather(gate, layout.reverse), tf.gather(own, layout.reverse)
        gates.append(gate)
        noises.append(GateNoise(noise.sign * z, own, factor))
    recurrent = tf.unstack(tf.convert_to_tensor(layer.recurrent_kernel), num=count)
    hidden, before = run_directions(gates, recurrent, layout.counts, noises=noises)
    noise.source(*hidden, *before)
    scaled = []
    for direction, (states, z) in enumerate(
        zip(before, tf.split(drawn, count, 1), strict=True)
    ):
        own = factor * tf.reduce_sum(tf.square(states), 1)
        deviation = tf.sqrt(noises[direction].variance + own)
        kernel = Kernel(layer.recurrent_kernel, direction, direction + 1)
        noise.record(states, (kernel, None), z, deviation, rows=layout.rows)
        z = tf.math.divide_no_nan(z, deviation[:, None])
        scaled.append(tf.gather(z, layout.reverse) if direction else z)
    noise.record(
        inputs, (layer.kernel, layer.bias), tf.concat(scaled, 1), None, rows=layout.rows
    )
    if count > 1:
        hidden[1] = tf.gather(hidden[1], layout.reverse)
    return tf.concat(hidden, 1)


def _scores_arcs(layer: PairScorer) -> bool:
    return not layer.use_output_bias


@perturbation_rule(PairScorer, method="project", applies=_scores_arcs)
def project(layer, noise: LayerNoise, nodes):
    """Two products, as heads and as modifiers."""
    return (
        noise.dense(nodes, layer.head_kernel, layer.bias),
        noise.dense(nodes, layer.modifier_kernel),
    )


@perturbation_rule(PairScorer, method="pair_kernel", applies=_scores_arcs)
def pair_kernel(layer, noise: LayerNoise):
    """Direct noise: a kernel of its own for each example."""
    return noise.weight(layer.output_kernel)[:, :, 0]
