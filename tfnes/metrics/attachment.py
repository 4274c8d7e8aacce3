"""Attachment scores of dependency trees."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfnes.checks import check_flag
from tfnes.registration import register
from tfnes.typing import Batch, Tensor


class _WordAccuracy(keras.metrics.Metric):
    """The share of words that `_correct` calls right."""

    def __init__(self, *, punctuation: bool = True, name: str, **kwargs):
        super().__init__(name=name, **kwargs)
        self.punctuation = check_flag(f"{type(self).__name__}.punctuation", punctuation)
        # Whole numbers: a float32 sum would stop counting at 2^24 words.
        self.correct, self.total = (
            self.add_weight(name=n, shape=(), dtype="int64", initializer="zeros")
            for n in ("correct", "total")
        )

    def _correct(self, batch: Batch, outputs: dict[str, Tensor]) -> Tensor:
        raise NotImplementedError

    def update_state(self, batch: Batch, outputs: dict[str, Tensor]) -> None:
        counted = tf.sequence_mask(batch["lengths"], tf.shape(batch["heads"])[1])
        if not self.punctuation:
            counted &= ~batch["punctuation"]
        correct = counted & self._correct(batch, outputs)
        self.correct.assign_add(tf.math.count_nonzero(correct))
        self.total.assign_add(tf.math.count_nonzero(counted))

    def result(self) -> Tensor:
        # float64: the ratio is as exact as the official scorer's.
        correct = tf.cast(tf.convert_to_tensor(self.correct), tf.float64)
        total = tf.cast(tf.convert_to_tensor(self.total), tf.float64)
        return tf.math.divide_no_nan(correct, total)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "punctuation": self.punctuation}


@register("metric")
class UAS(_WordAccuracy):
    """Unlabeled attachment score: the share of words with the gold head, in [0, 1].

    All words count alike, over all sentences together, as in the scorer of the CoNLL
    2018 shared task when the tokens are gold.

    Args:
      punctuation: whether words with UPOS PUNCT count (they do officially; the
        authors' evaluation leaves out words made of punctuation characters).
      name: of the metric.

    Example:

        >>> import tensorflow as tf
        >>> from tfnes.metrics import UAS
        >>> metric = UAS()
        >>> metric.update_state(
        ...     {"heads": tf.constant([[2, 0]]), "lengths": tf.constant([2])},
        ...     {"heads": tf.constant([[0, 0]])})
        >>> float(metric.result())
        0.5

    References:
      Zeman et al. 2018, "CoNLL 2018 shared task: multilingual parsing from raw text to
      Universal Dependencies", section 4.
    """

    def __init__(self, *, punctuation: bool = True, name: str = "uas", **kwargs):
        super().__init__(punctuation=punctuation, name=name, **kwargs)

    def _correct(self, batch, outputs):
        return tf.equal(batch["heads"], outputs["heads"])


@register("metric")
class LAS(_WordAccuracy):
    """Labeled attachment score: the share of words with the gold head and relation.

    As the official scorer, only the universal part of a relation is compared, the text
    before `:`, unless `subtypes` is set. The relation is the one predicted for the
    *predicted* head.

    Args:
      subtypes: whether relations must agree in the part after `:` too. A gold subtype
        that the vocabulary lacks counts as its universal part.
      punctuation: whether words with UPOS PUNCT count.
      name: of the metric.

    Example:

        >>> import tensorflow as tf
        >>> from tfnes.metrics import LAS
        >>> metric = LAS(subtypes=True)
        >>> metric.update_state(
        ...     {"heads": tf.constant([[2, 0]]), "relations": tf.constant([[3, 1]]),
        ...      "lengths": tf.constant([2])},
        ...     {"heads": tf.constant([[2, 0]]), "relations": tf.constant([[4, 1]])})
        >>> float(metric.result())
        0.5
    """

    def __init__(
        self,
        *,
        subtypes: bool = False,
        punctuation: bool = True,
        name: str = "las",
        **kwargs,
    ):
        super().__init__(punctuation=punctuation, name=name, **kwargs)
        self.subtypes = subtypes

    def _correct(self, batch, outputs):
        if self.subtypes:
            gold, predicted = batch["relations"], outputs["relations"]
        else:
            gold = outputs["gold_universal_relations"]
            predicted = outputs["universal_relations"]
        same = tf.equal(gold, predicted)
        return same & tf.equal(batch["heads"], outputs["heads"])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "subtypes": self.subtypes}
