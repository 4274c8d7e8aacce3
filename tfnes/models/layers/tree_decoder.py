"""A language model that is told the dependency tree of the words seen so far."""

from __future__ import annotations

from typing import NamedTuple

import keras
import tensorflow as tf

from tfnes.checks import check_integer
from tfnes.models.layers.initializers import DimensionUniform, StackedGlorot
from tfnes.models.layers.packed_lstm import PackedLSTM
from tfnes.models.layers.packing import pack_lengths, with_padding_row
from tfnes.models.layers.row_groups import RowGroup, map_row_groups
from tfnes.registration import register
from tfnes.solvers import batching
from tfnes.typing import Tensor

_CHUNK = 128


class DecoderStates(NamedTuple):
    """What of a batch does not depend on the tree.

    The roles are `[1 + P, units]` each; the first row is 0 and stands for padding.

    Attributes:
      current: C h_i of the node that predicts.
      as_head: H h_j of a node in the role of a head.
      as_modifier: M h_j of a node in the role of a modifier.
      index: `[B, L]` int32, row in these of each predicting node, 0 in padding.
      lengths: `[B]` int32.
      targets: `[P]` int32, the word that each node predicts.
      rows: `[P]` int32, its sentence.
      alone: `[P]`, log p of each target where its node has no arc to a node before it;
        None where it was not computed.
    """

    current: Tensor
    as_head: Tensor
    as_modifier: Tensor
    index: Tensor
    lengths: Tensor
    targets: Tensor
    rows: Tensor
    alone: Tensor | None = None


@register("layer")
class TreeDecoder(keras.layers.Layer):
    """p(x | T) = prod over i of p(x_{i+1} | x_1 ... x_i, arcs among nodes 0 ... i).

    h = LSTM(<root>, x_1, ..., x_{n-1}); node i = 0 ... n-1 predicts word i+1 by

        softmax(W tanh(C h_i + sum_{j<i} T[j, i] H h_j + sum_{j<i} T[i, j] M h_j))

    C, H and M are affine, their biases inside the sums. The tree is linear in this, so
    a relaxed tree works too. All i are computed at once: one LSTM pass, two products
    with the strict triangles of T, one softmax. Arcs of the last word never matter.

    Args:
      units: size of the LSTM and of the tanh layer.
      vocabulary_size: words to predict.

    References:
      Corro & Titov 2019, "Differentiable perturb-and-parse", section 3.
    """

    def __init__(self, units: int, *, vocabulary_size: int, **kwargs):
        super().__init__(**kwargs)
        self.units = check_integer("TreeDecoder.units", units, minimum=1)
        self.vocabulary_size = check_integer(
            "TreeDecoder.vocabulary_size", vocabulary_size, minimum=1
        )
        self.lstm = PackedLSTM(self.units, bidirectional=False, name="lstm")

    def build(self, input_shape):
        self.lstm.build(input_shape)
        self.roles_kernel = self.add_weight(
            name="roles_kernel",
            shape=(self.units, 3 * self.units),
            initializer=StackedGlorot(blocks=3),
        )
        self.roles_bias = self.add_weight(
            name="roles_bias", shape=(3, self.units), initializer=DimensionUniform()
        )
        self.output_kernel = self.add_weight(
            name="output_kernel",
            shape=(self.units, self.vocabulary_size),
            initializer="glorot_uniform",
        )
        self.output_bias = self.add_weight(
            name="output_bias",
            shape=(self.vocabulary_size,),
            initializer=DimensionUniform(),
        )

    def states(self, words: Tensor, lengths: Tensor, *, table: Tensor) -> DecoderStates:
        """Returns what does not depend on the tree.

        Args:
          words: `[B, L]` int32.
          lengths: `[B]` int32.
          table: `[vocabulary_size, in]`, the words' vectors; <root> is row 1.
        """
        layout = pack_lengths(lengths, batching.dimension(words, 1))
        nodes = tf.pad(words, [[0, 0], [1, 0]], constant_values=1)
        hidden = self.lstm(tf.gather(table, layout.pack(nodes)), layout)
        roles = tf.matmul(hidden, self.roles_kernel)
        roles += tf.reshape(self.roles_bias, [1, -1])
        return DecoderStates(
            *map(with_padding_row, tf.split(roles, 3, axis=1)),
            index=layout.index,
            lengths=lengths,
            targets=layout.pack(words),
            rows=layout.rows,
        )

    def share(self, states: DecoderStates) -> DecoderStates:
        """Returns `states` with `alone`, for many trees with the same parameters.

        About two in five nodes of a tree have no arc to a node before them. What they
        predict with does not depend on the tree.
        """
        if batching.static_shapes():
            return states  # All nodes are computed anyway.
        features = tf.tanh(states.current[1:])
        return states._replace(alone=self._log_probability(features, states.targets))

    def features(
        self, states: DecoderStates, group: RowGroup, latent: Tensor
    ) -> list[Tensor]:
        """Returns tanh(...) of a group's predicting nodes, `[T', units]`, and which.

        Args:
          states: of all sentences.
          group: a group of rows.
          latent: `[rows, m, m]`, their trees, m > group.size.

        Returns:
          The features row after row, without padding and nodes whose prediction is in
          `states.alone`; and the places of the nodes, `[T']` int32. Where shapes must
          be static padding is among them, with the place -1.
        """
        index = group.take(states.index)[:, : group.size]
        arcs = latent[:, : group.size, : group.size]
        upper = tf.linalg.band_part(arcs, 0, -1)
        lower = tf.linalg.band_part(arcs, -1, 0)
        diagonal = tf.linalg.band_part(arcs, 0, 0)
        hidden = tf.tanh(
            tf.gather(states.current, index)
            + tf.matmul(
                upper - diagonal, tf.gather(states.as_head, index), transpose_a=True
            )
            + tf.matmul(lower - diagonal, tf.gather(states.as_modifier, index))
        )
        if batching.static_shapes():
            return [tf.reshape(hidden, [-1, self.units]), tf.reshape(index, [-1]) - 1]
        used = index > 0
        if states.alone is not None:
            has_head = tf.reduce_any(upper != diagonal, axis=1)
            has_modifier = tf.reduce_any(lower != diagonal, axis=2)
            used &= has_head | has_modifier
        return [tf.boolean_mask(hidden, used), tf.boolean_mask(index, used) - 1]

    def mean_log_probability(
        self, states: DecoderStates, features: Tensor, places: Tensor
    ) -> Tensor:
        """Returns the mean over each sentence's words of log p, `[B]`; 0 without words.

        Args:
          states: of all sentences.
          features: `[T, units]`, of all sentences; see `features`.
          places: `[T]` int32, their nodes.
        """
        rows = states.rows
        if batching.static_shapes():
            padding, places = places < 0, tf.maximum(places, 0)
            values = self._log_probability(features, tf.gather(states.targets, places))
            # The sum leaves out what is of no row.
            rows = tf.where(padding, -1, tf.gather(rows, places))
            total = tf.math.unsorted_segment_sum(values, rows, tf.size(states.lengths))
            return total / tf.cast(tf.maximum(states.lengths, 1), total.dtype)
        values = self._log_probability(features, tf.gather(states.targets, places))
        if states.alone is None:
            rows = tf.gather(rows, places)
        else:
            values = tf.tensor_scatter_nd_update(states.alone, places[:, None], values)
        total = tf.math.unsorted_segment_sum(values, rows, tf.size(states.lengths))
        return total / tf.cast(tf.maximum(states.lengths, 1), total.dtype)

    def _log_probability(self, features: Tensor, targets: Tensor) -> Tensor:
        """Returns log p of each target, `[T]`, of features `[T, units]`."""
        kernel = tf.convert_to_tensor(self.output_kernel)
        bias = tf.convert_to_tensor(self.output_bias)

        def log_probability(features, targets):
            # Half the time of the fused cross-entropy, whose kernel also makes a
            # gradient.
            logits = tf.nn.bias_add(tf.matmul(features, kernel), bias)
            chosen = tf.gather(logits, targets, batch_dims=1)
            return chosen - tf.reduce_logsumexp(logits, axis=1)

        return _map_chunks(log_probability, features, targets)

    def call(self, states: DecoderStates, latent: Tensor) -> Tensor:
        """Returns the mean log-probability of the words given their trees, `[B]`.

        Args:
          states: of the sentences.
          latent: `[B, L + 1, L + 1]`, 0/1 or relaxed.
        """
        features, places = map_row_groups(
            lambda group: self.features(states, group, group.take(latent)),
            states.lengths,
            max_length=batching.dimension(states.index, 1),
            outputs=self.features_spec(latent.dtype),
        )
        return self.mean_log_probability(states, features, places)

    def features_spec(self, dtype: tf.DType) -> list[tf.TensorSpec]:
        """Returns the specification of what `features` returns."""
        features = tf.TensorSpec([None, self.units], dtype)
        return [features, tf.TensorSpec([None], tf.int32)]

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "vocabulary_size": self.vocabulary_size,
        }


def _map_chunks(function, features: Tensor, targets: Tensor) -> Tensor:
    """Applies `function` to slices of tokens whose logits fit into cache."""
    if batching.static_shapes():
        return function(features, targets)
    size = tf.shape(targets)[0]
    chunks = tf.maximum(-(-size // _CHUNK), 1)
    results = tf.TensorArray(
        features.dtype, chunks, element_shape=[None], infer_shape=False
    )

    def body(i, results):
        part = slice(i * _CHUNK, (i + 1) * _CHUNK)
        return i + 1, results.write(i, function(features[part], targets[part]))

    _, results = tf.while_loop(lambda i, _: i < chunks, body, (0, results))
    return results.concat()
