"""The encoder of a parser: from words to scores of arcs and relations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tfnes.models.layers import (
    DimensionUniform,
    PackedLSTM,
    PairScorer,
    RowGroup,
    map_row_groups,
    with_padding_row,
)
from tfnes.models.parser_inputs import SentenceInputs, pad_parts, parts_spec
from tfnes.models.rows import example_rows
from tfnes.registration import register
from tfnes.solvers import batching
from tfnes.typing import Tensor


@register("layer")
class ParserEncoder(keras.layers.Layer):
    """v = BiLSTM(<root>, x_1, ..., x_n), and the scorers of (head, modifier) pairs.

    Args:
      num_words: size of the trained vocabulary.
      num_relations: relation labels.
      embedding_size: of the trained word embeddings.
      vector_size: of the external vectors, 0 without.
      hidden_size: units of one direction of the LSTM.
      num_layers: of the bidirectional LSTM.
      scorer_size: hidden units of each scorer.

    Attributes:
      feature_sizes: features of a word, then of each LSTM layer's output.

    References:
      Kiperwasser & Goldberg 2016, "Simple and accurate dependency parsing using
      bidirectional LSTM feature representations".
    """

    def __init__(
        self,
        *,
        num_words: int,
        num_relations: int,
        embedding_size: int,
        vector_size: int,
        hidden_size: int,
        num_layers: int,
        scorer_size: int,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._settings = dict(
            num_words=num_words,
            num_relations=num_relations,
            embedding_size=embedding_size,
            vector_size=vector_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
            scorer_size=scorer_size,
        )
        self.embedding = self.add_weight(
            name="embedding",
            shape=(num_words, embedding_size),
            initializer=DimensionUniform(),
        )
        self.lstms = [
            PackedLSTM(hidden_size, name=f"lstm_{i}") for i in range(num_layers)
        ]
        size = embedding_size + vector_size
        self.feature_sizes = [size]
        for layer in self.lstms:
            layer.build((None, size))
            size = layer.output_size
            self.feature_sizes.append(size)
        self.arc_scorer = PairScorer(scorer_size, name="arc_scorer")
        self.arc_scorer.build((None, size))
        self.relation_scorer = PairScorer(
            scorer_size,
            outputs=num_relations,
            use_output_bias=True,
            name="relation_scorer",
        )
        self.relation_scorer.build((None, size))
        self.built = True

    def call(
        self,
        inputs: SentenceInputs,
        vectors: Tensor | None = None,
        masks: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Returns the packed nodes' vectors v, `[P, 2 * hidden_size]`.

        Args:
          inputs: the nodes of a batch.
          vectors: `[V, D]`, the external vectors; None without.
          masks: what the inputs of the first layer and the outputs of each layer are
            multiplied by, `[B, features]`: dropout, the same for all nodes of a
            sentence.
        """
        nodes = tf.gather(tf.convert_to_tensor(self.embedding), inputs.words)
        if vectors is not None:
            nodes = tf.concat([nodes, tf.gather(vectors, inputs.external)], axis=1)
        places = inputs.places
        if masks is not None:
            # A word that two sentences share differs between them.
            nodes = tf.gather(nodes, places) * tf.gather(masks[0], inputs.layout.rows)
            places = None
        for i, layer in enumerate(self.lstms):
            nodes = layer(nodes, inputs.layout, places)
            places = None
            if masks is not None:
                nodes *= tf.gather(masks[i + 1], inputs.layout.rows)
        return nodes

    def scores_by_group(
        self, inputs: SentenceInputs, nodes: Tensor
    ) -> Callable[[RowGroup], Tensor]:
        """Returns a function: the arc scores `[rows, n + 1, n + 1]` of a row group.

        Scores of padding are 0.
        """
        with example_rows(inputs.layout.rows, inputs.layout.times):
            projected = self.arc_scorer.project(nodes)
        heads, modifiers = map(with_padding_row, projected)
        kernel = self.arc_scorer.pair_kernel()

        def scores(group: RowGroup) -> Tensor:
            index = group.take(inputs.layout.index)[:, : group.size + 1]
            pairs = self.arc_scorer.all_pairs(
                tf.gather(heads, index),
                tf.gather(modifiers, index),
                kernel if kernel.shape[0] == 1 else group.take(kernel),
            )
            real = index > 0
            zero = tf.zeros([], pairs.dtype)
            return tf.where(real[:, :, None] & real[:, None, :], pairs, zero)

        return scores

    def scores(
        self, inputs: SentenceInputs, nodes: Tensor, *, lengths: Tensor
    ) -> Tensor:
        """Returns the arc scores, `[B, L + 1, L + 1]`, 0 in padding."""
        batch_size, num_nodes = (
            batching.dimension(inputs.layout.index, axis) for axis in (0, 1)
        )
        scores = self.scores_by_group(inputs, nodes)
        (padded,) = map_row_groups(
            lambda group: [pad_parts(scores(group), num_nodes)],
            lengths,
            max_length=num_nodes - 1,
            outputs=[parts_spec(nodes.dtype)],
        )
        return padded[:batch_size]

    def relation_scores(
        self, inputs: SentenceInputs, nodes: Tensor, *, heads: Tensor
    ) -> Tensor:
        """Returns the relation scores of the arcs to `heads` `[B, L]`, `[B, L, R]`."""
        as_head, as_modifier = map(
            with_padding_row, self.relation_scorer.project(nodes)
        )
        index = inputs.layout.index
        return self.relation_scorer(
            tf.gather(as_head, tf.gather(index, heads, batch_dims=1)),
            tf.gather(as_modifier, index[:, 1:]),
        )

    def get_config(self):
        return {**super().get_config(), **self._settings}
