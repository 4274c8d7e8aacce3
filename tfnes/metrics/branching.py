"""Trees that need no model, to print beside every attachment score."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfnes.checks import check_choice
from tfnes.metrics.attachment import UAS
from tfnes.registration import register
from tfnes.typing import Tensor


def right_branching_heads(lengths: Tensor, max_length: int | Tensor) -> Tensor:
    """Returns the heads of trees in which every word hangs on the word before it.

    The first word is the root. `[B, L]` int32, 0 in padding.

    Example:

        >>> import tensorflow as tf
        >>> from tfnes.metrics import right_branching_heads
        >>> right_branching_heads(tf.constant([3, 2]), 3).numpy().tolist()
        [[0, 1, 2], [0, 1, 0]]
    """
    words = tf.sequence_mask(lengths, max_length)
    return tf.where(words, tf.range(max_length)[None, :], 0)


def left_branching_heads(lengths: Tensor, max_length: int | Tensor) -> Tensor:
    """Returns the heads of trees in which every word hangs on the word after it.

    The last word is the root. `[B, L]` int32, 0 in padding.

    Example:

        >>> import tensorflow as tf
        >>> from tfnes.metrics import left_branching_heads
        >>> left_branching_heads(tf.constant([3, 2]), 3).numpy().tolist()
        [[2, 3, 0], [2, 0, 0]]
    """
    inner = tf.sequence_mask(tf.maximum(lengths - 1, 0), max_length)
    return tf.where(inner, tf.range(max_length)[None, :] + 2, 0)


_HEADS = {"right": right_branching_heads, "left": left_branching_heads}


@register("metric")
class BranchingBaseline(UAS):
    """The UAS of right- or left-branching trees on the same sentences.

    Args:
      direction: `"right"`: each word on the word before it; `"left"`: after it.
      punctuation: whether words with UPOS PUNCT count.
      name: of the metric; None: `right_branching_uas` or `left_branching_uas`.
    """

    def __init__(
        self,
        *,
        direction: str = "right",
        punctuation: bool = True,
        name: str | None = None,
        **kwargs,
    ):
        check_choice("BranchingBaseline.direction", direction, _HEADS)
        name = f"{direction}_branching_uas" if name is None else name
        super().__init__(punctuation=punctuation, name=name, **kwargs)
        self.direction = direction

    def _correct(self, batch, outputs):
        del outputs
        max_length = tf.shape(batch["heads"])[1]
        heads = _HEADS[self.direction](batch["lengths"], max_length)
        return tf.equal(batch["heads"], heads)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "direction": self.direction}
