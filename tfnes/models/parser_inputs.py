"""What a parser makes of a batch before any trained parameter is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfnes import random
from tfnes.models.layers import (
    PackedLayout,
    RowGroup,
    map_row_groups,
    pack_lengths,
)
from tfnes.solvers import batching
from tfnes.structures.structure import Structure
from tfnes.typing import Batch, Seed, Tensor

ROOT = 1
"""Index of `<root>` in the trained and in the external vocabulary."""


class SentenceInputs(NamedTuple):
    """The nodes of a batch, each distinct word once.

    Attributes:
      layout: of the nodes: the root, then the words.
      words: `[R]` int32, the distinct words of the batch; where shapes must be static,
        all words as they stand.
      external: `[R]` int32, their indices in the external vocabulary; None without.
      places: `[P]` int32, the distinct word of each packed node.
    """

    layout: PackedLayout
    words: Tensor
    external: Tensor | None
    places: Tensor


def sentence_inputs(batch: Batch) -> SentenceInputs:
    """Returns the nodes of `batch`; sentences without words have none, no root either.

    Rows of padding alone would make an empty batch; they are given no nodes, so at
    least one sentence must have a word.
    """
    words = with_root(batch["words"])
    layout = pack_lengths(node_counts(batch["lengths"]), batching.dimension(words, 1))
    words, external = layout.pack(words), None
    if "external" in batch:
        external = layout.pack(with_root(batch["external"]))
    if batching.static_shapes():
        return SentenceInputs(layout, words, external, tf.range(layout.size))
    if external is None:
        distinct, places = tf.unique(words)
        return SentenceInputs(layout, distinct, None, places)
    # A word as written decides on both indices; the pair is one 64-bit key.
    base = tf.constant(2**32, tf.int64)
    key = tf.cast(words, tf.int64) * base + tf.cast(external, tf.int64)
    distinct, places = tf.unique(key)
    return SentenceInputs(
        layout=layout,
        words=tf.cast(distinct // base, tf.int32),
        external=tf.cast(distinct % base, tf.int32),
        places=places,
    )


class GroupParts(NamedTuple):
    """Parts `[rows, n + 1, n + 1]` of all row groups, without padding to one length.

    Attributes:
      values: the parts of all groups, one after another, flat.
      starts: `[G]` int32, where each group begins.
    """

    values: Tensor
    starts: Tensor

    @classmethod
    def noise(
        cls, structure: Structure, batch: Batch, *, seed: Seed, dtype: tf.DType
    ) -> GroupParts:
        """Returns the noise that `structure.noise` gives the batch as a whole."""
        index = example_index(batch)

        def draw(group: RowGroup) -> list[Tensor]:
            parts = tf.zeros([group.rows, group.size + 1, group.size + 1], dtype)
            values = structure.noise(parts, seed=seed, index=group.take(index))
            return [tf.reshape(values, [-1]), tf.reshape(tf.size(values), [1])]

        values, sizes = map_row_groups(
            draw,
            batch["lengths"],
            max_length=batching.dimension(batch["words"], 1),
            outputs=[tf.TensorSpec([None], dtype), tf.TensorSpec([None], tf.int32)],
        )
        return cls(values, tf.cumsum(sizes, exclusive=True))

    def of(self, group: RowGroup) -> Tensor:
        """Returns the parts of a group, `[rows, size + 1, size + 1]`."""
        shape = tf.stack([group.rows, group.size + 1, group.size + 1])
        if batching.static_shapes():
            return tf.reshape(self.values, shape)
        start = self.starts[group.number]
        values = self.values[start : start + tf.reduce_prod(shape)]
        return tf.reshape(values, shape)

    def padded(self, batch: Batch) -> Tensor:
        """Returns the parts of all examples, `[B, L + 1, L + 1]`, 0 in padding."""
        batch_size, max_length = (
            batching.dimension(batch["words"], axis) for axis in (0, 1)
        )
        (parts,) = map_row_groups(
            lambda group: [pad_parts(self.of(group), max_length + 1)],
            batch["lengths"],
            max_length=max_length,
            outputs=[parts_spec(self.values.dtype)],
        )
        return parts[:batch_size]


def parts_spec(dtype: tf.DType) -> tf.TensorSpec:
    """Returns the specification of `[B, m, m]` parts."""
    return tf.TensorSpec([None, None, None], dtype)


def pad_parts(parts: Tensor, num_nodes: Tensor) -> Tensor:
    """Returns parts `[B, m, m]` padded by 0 to `[B, num_nodes, num_nodes]`."""
    missing = num_nodes - tf.shape(parts)[1]
    return tf.pad(parts, [[0, 0], [0, missing], [0, missing]])


def with_root(words: Tensor) -> Tensor:
    """Returns the nodes `[B, L + 1]`: the root, then the words."""
    return tf.pad(words, [[0, 0], [1, 0]], constant_values=ROOT)


def node_counts(lengths: Tensor) -> Tensor:
    """Returns `[B]` int32: words and root; 0 for a row of padding."""
    return tf.where(lengths > 0, lengths + 1, 0)


def used_words(batch: Batch) -> Tensor:
    """Returns the indices of all words of `batch` and of the root, with repeats."""
    nodes = with_root(batch["words"])
    inside = tf.sequence_mask(node_counts(batch["lengths"]), tf.shape(nodes)[1])
    return tf.reshape(tf.where(inside, nodes, ROOT), [-1])


def example_index(batch: Batch) -> Tensor:
    """Returns the `[B]` key of each example; its row if the batch has no `index`."""
    if "index" in batch:
        return batch["index"]
    return tf.range(tf.shape(batch["lengths"])[0])


def gold_trees(batch: Batch, dtype: tf.DType) -> Tensor:
    """Returns the gold trees, `[B, L + 1, L + 1]` in {0, 1}, `[head, modifier]`."""
    size = tf.shape(batch["heads"])[1]
    heads = tf.where(tf.sequence_mask(batch["lengths"], size), batch["heads"], -1)
    arcs = tf.one_hot(heads, size + 1, axis=1, dtype=dtype)
    return tf.pad(arcs, [[0, 0], [0, 0], [1, 0]])


def drop_rates(counts: Sequence[int], a: float) -> np.ndarray:
    """Returns the probability a / (a + count) of dropping each word; 0 if a is 0."""
    return np.divide(a, a + np.asarray(counts), where=a > 0, out=np.zeros(len(counts)))


def training_inputs(
    batch: Batch,
    *,
    word_rates: np.ndarray,
    external_rate: float,
    rate: float,
    sizes: Sequence[int],
    seed: Seed,
) -> tuple[SentenceInputs, list[Tensor] | None]:
    """Returns inputs with words left out, and masks of features, of one update.

    Args:
      batch: of sentences.
      word_rates: see `drop_words`.
      external_rate: see `drop_words`.
      rate: see `dropout_masks`.
      sizes: see `dropout_masks`.
      seed: `[2]` int32.
    """
    dropped = drop_words(
        batch, rates=word_rates, external_rate=external_rate, seed=seed
    )
    masks = dropout_masks(batch, rate=rate, sizes=sizes, seed=seed)
    return sentence_inputs(dropped), masks


def drop_words(
    batch: Batch, *, rates: np.ndarray, external_rate: float, seed: Seed
) -> dict[str, Tensor]:
    """Returns `batch` with words replaced by unknown ones at random.

    A word is replaced by its `unknown` (by `<unk>` in a batch that has none) with
    probability `rates[word]`; the external index of a replaced
    word is set to `<unk>` with probability `external_rate`. What is drawn for a word is
    a function of `seed`, of its sentence's `index` and of its position.

    Args:
      batch: of sentences.
      rates: `[V]`, of the trained vocabulary.
      external_rate: see above.
      seed: `[2]` int32.
    """
    index = example_index(batch)
    shape = tf.shape(batch["words"])
    draws = random.uniform(shape, seed=random.fold_in(seed, 0), index=index)
    dropped = draws < tf.gather(tf.constant(rates, tf.float32), batch["words"])
    unknown = batch.get("unknown", tf.zeros_like(batch["words"]))
    batch = {**batch, "words": tf.where(dropped, unknown, batch["words"])}
    if "external" in batch:
        draws = random.uniform(shape, seed=random.fold_in(seed, 1), index=index)
        lost = dropped & (draws < external_rate)
        batch["external"] = tf.where(lost, 0, batch["external"])
    return batch


def dropout_masks(
    batch: Batch, *, rate: float, sizes: Sequence[int], seed: Seed
) -> list[Tensor] | None:
    """Returns `[B, D]` factors for each size D, 0 or 1 / (1 - rate); None at rate 0.

    Keyed as in `drop_words`.

    Args:
      batch: of sentences.
      rate: probability of a 0.
      sizes: D of each result.
      seed: `[2]` int32.

    References:
      Gal & Ghahramani 2016, "A theoretically grounded application of dropout in
      recurrent neural networks".
    """
    if not rate:
        return None
    index = example_index(batch)
    masks = []
    for stream, features in enumerate(sizes, start=2):
        draws = random.uniform(
            [tf.size(index), features],
            seed=random.fold_in(seed, stream),
            index=index,
        )
        masks.append(tf.where(draws < rate, 0.0, 1.0 / (1.0 - rate)))
    return masks


def universal_relations(relations: Sequence[str]) -> np.ndarray:
    """Returns the number of each relation's universal part, the text before `:`.

    Example:

        >>> from tfnes.models.parser_inputs import universal_relations
        >>> universal_relations(["<unk>", "nsubj", "nmod", "nmod:poss"]).tolist()
        [0, 1, 2, 2]
    """
    numbers: dict[str, int] = {}
    for relation in relations:
        numbers.setdefault(relation.split(":")[0], len(numbers))
    return np.array([numbers[r.split(":")[0]] for r in relations], np.int32)
