"""Pictures of predicted beside gold dependency trees, in TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfnes import plotting


class TreePictures(keras.callbacks.Callback):
    """Draws the predicted trees of a few sentences at the end of each epoch.

    Args:
      sentences: with `forms`, and `heads` and `relations` where gold trees are known.
      predict: returns the heads and the names of the relations of each sentence.
      writer: TensorBoard's writer.

    Example:

        >>> from tfnes.callbacks import TreePictures
        >>> TreePictures([], predict=None, writer=None).sentences
        []
    """

    def __init__(
        self,
        sentences: Sequence[Any],
        *,
        predict: Callable[[Sequence[Any]], tuple[list, list]],
        writer: tf.summary.SummaryWriter,
    ):
        super().__init__()
        self.sentences = list(sentences)
        self.predict = predict
        self.writer = writer

    def on_epoch_end(self, epoch, logs=None):
        if not self.sentences:
            return
        heads, relations = self.predict(self.sentences)
        with self.writer.as_default(step=int(tf.convert_to_tensor(self.model.step))):
            for i, sentence in enumerate(self.sentences):
                figure = plotting.draw_dependency_tree(
                    sentence.forms,
                    heads[i],
                    relations=relations[i],
                    gold_heads=sentence.heads,
                    gold_relations=sentence.relations,
                )
                pixels = plotting.to_pixels(figure, dpi=80)
                tf.summary.image(f"trees/{i + 1}", pixels[None])
        self.writer.flush()

    def as_text(self) -> str:
        """Returns the first sentence's predicted tree in lines of text."""
        heads, relations = self.predict(self.sentences[:1])
        sentence = self.sentences[0]
        return plotting.format_dependency_tree(
            sentence.forms,
            heads[0],
            relations=relations[0],
            gold_heads=sentence.heads,
        )
