"""The common part of providers of sentences: encoding, batches, descriptions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tfnes.datasets.batching import make_dataset, plan_batches
from tfnes.datasets.provider import DatasetProvider
from tfnes.datasets.sentence import Sentence
from tfnes.datasets.vocabulary import EncodedSentences, Vocabulary

SPLITS = (
    "source_train",
    "source_dev",
    "source_test",
    "target_train",
    "target_dev",
    "target_test",
)


class SentenceProvider(DatasetProvider):
    """Splits of sentences, encoded by one vocabulary.

    Also the way to give any sentences to a trained parser: with its vocabulary.

    Attributes:
      vocabulary: the `Vocabulary` of all splits.
      notes: what was decided or left out while the data was read, a sentence each.

    Args:
      sentences: the sentences of each split, of which there is at least one.
      vocabulary: their vocabulary.
      unlabeled: splits whose trees are withheld from the batches.
      notes: see above.

    Example:

        >>> import io
        >>> from tfnes.datasets import DemoTreebank, SentenceProvider, read_tokens
        >>> text = SentenceProvider(
        ...     sentences={"text": list(read_tokens(io.StringIO("el tu .\\nji .")))},
        ...     vocabulary=DemoTreebank(vector_dimension=0).vocabulary)
        >>> batch = next(iter(text.get_dataset("text", batch_size=2)))
        >>> batch["lengths"].numpy().tolist()
        [3, 2]
    """

    def __init__(
        self,
        *,
        sentences: Mapping[str, Sequence[Sentence]],
        vocabulary: Vocabulary,
        unlabeled: Iterable[str] = ("target_train",),
        notes: Sequence[str] = (),
    ):
        self.splits = tuple(sentences)
        self.vocabulary = vocabulary
        self.unlabeled = frozenset(unlabeled)
        self.notes = list(notes)
        self._sentences = {split: list(rows) for split, rows in sentences.items()}
        self._encoded: dict[str, EncodedSentences] = {}

    def get_dataset(
        self,
        split: str,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        epoch: int = 0,
        skip: int = 0,
        drop_remainder: bool = False,
        batching: str | None = None,
        pad_batches: bool = False,
    ) -> tf.data.Dataset:
        """Returns the batches of one epoch; see `DatasetProvider.get_dataset`.

        Args:
          split: one of `splits`.
          batch_size: sentences in a batch.
          shuffle: whether the order depends on `seed` and `epoch`.
          seed: integer.
          epoch: integer, from 0.
          skip: batches at the start that are left out without being computed.
          drop_remainder: whether a smaller last batch is left out.
          batching: `"bucketed"` (similar lengths together) or `"random"`; None:
            `"random"` for unlabeled splits, which NES reads in large batches,
            `"bucketed"` for all others.
          pad_batches: whether sentences of length 0 fill a smaller batch.
        """
        encoded = self.encoded(split)
        if batching is None:
            batching = "random" if split in self.unlabeled else "bucketed"
        plan = plan_batches(
            encoded.lengths,
            batch_size=batch_size,
            batching=batching,
            shuffle=shuffle,
            seed=seed,
            epoch=epoch,
            drop_remainder=drop_remainder,
        )
        return make_dataset(encoded, plan, skip=skip, pad_batches=pad_batches)

    def num_examples(self, split: str) -> int:
        self.check_split(split)
        return len(self._sentences[split])

    def sentences(self, split: str) -> list[Sentence]:
        """Returns the sentences of a split; row i is the example with `index` i.

        The sentences of an unlabeled split keep their trees here, if they have any: for
        measuring, never for training.
        """
        self.check_split(split)
        return list(self._sentences[split])

    def encoded(self, split: str) -> EncodedSentences:
        """Returns the arrays of a split; without trees for an unlabeled one."""
        self.check_split(split)
        if split not in self._encoded:
            encoded = self.vocabulary.encode(self._sentences[split])
            if split in self.unlabeled:
                encoded = encoded.without_trees()
            self._encoded[split] = encoded
        return self._encoded[split]

    def describe(self) -> str:
        lines = [f"{type(self).__name__}"]
        for split in self.splits:
            lengths = [len(sentence) for sentence in self._sentences[split]]
            words = self.encoded(split).words
            known = (words > 0) & (words < self.vocabulary.num_words)
            known = np.count_nonzero(known) / max(sum(lengths), 1)
            lines.append(
                f"  {split:<13}{len(lengths):>7,} sentences {sum(lengths):>9,} words, "
                f"longest {max(lengths, default=0)}, in the vocabulary {known:.1%}"
                + (", trees withheld" if split in self.unlabeled else "")
            )
        vocabulary = self.vocabulary
        lines.append(
            f"  vocabulary: {vocabulary.num_words:,} words, "
            f"{vocabulary.num_signatures:,} signatures, "
            f"{len(vocabulary.relations):,} relations, "
            + (
                f"{len(vocabulary.external_words):,} external words"
                if vocabulary.external_words
                else "no external vectors"
            )
        )
        return "\n".join(lines + [f"  {note}" for note in self.notes])
