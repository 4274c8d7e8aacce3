"""The trees that a parser predicts, group by group of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from tfnes.models.layers import RowGroup, map_row_groups
from tfnes.models.parser_inputs import pad_parts, parts_spec, sentence_inputs
from tfnes.solvers import batching
from tfnes.typing import Batch, Tensor

if TYPE_CHECKING:
    from tfnes.models.parser import Parser


def predict_trees(parser: Parser, batch: Batch) -> dict[str, Tensor]:
    """Returns the highest-scoring tree of each sentence, and the relations at its arcs.

    Args:
      parser: with a vocabulary.
      batch: as of `Parser`; trees are not needed.

    Returns:
      see `Parser.predict_batch`.
    """
    inputs = sentence_inputs(batch)
    nodes = parser.nodes(inputs)
    scores = parser.encoder.scores_by_group(inputs, nodes)
    batch_size, max_length = (
        batching.dimension(batch["words"], axis) for axis in (0, 1)
    )

    def solve(group: RowGroup) -> list[Tensor]:
        potentials, lengths = scores(group), group.take(batch["lengths"])
        latent = parser.structure.argmax(potentials, lengths=lengths)
        finite = parser.structure.has_finite_optimum(
            latent, potentials, lengths=lengths
        )
        return [pad_parts(latent, max_length + 1), finite]

    latent, finite = map_row_groups(
        solve,
        batch["lengths"],
        max_length=max_length,
        outputs=[parts_spec(nodes.dtype), tf.TensorSpec([None], tf.bool)],
    )
    latent = parser.structure.require_finite_optimum(
        latent[:batch_size], finite[:batch_size]
    )
    # Exactly one arc enters a word, so the head's number is a sum.
    numbers = tf.cast(tf.range(max_length + 1), latent.dtype)
    heads = tf.cast(tf.einsum("bhm,h->bm", latent, numbers)[:, 1:], tf.int32)
    relations = parser.encoder.relation_scores(inputs, nodes, heads=heads)[..., 1:]
    words = tf.sequence_mask(batch["lengths"], max_length)
    relations = tf.argmax(relations, axis=-1, output_type=tf.int32) + 1
    relations = tf.where(words, relations, 0)
    outputs = {"latent": latent, "heads": heads, "relations": relations}
    outputs["universal_relations"] = tf.gather(parser.universal_relations, relations)
    if "relations" in batch:
        gold = tf.gather(parser.universal_relations, batch["relations"])
        outputs["gold_universal_relations"] = gold
    return outputs
