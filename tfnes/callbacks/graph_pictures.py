"""Pictures of predicted beside gold graphs, in TensorBoard."""

from __future__ import annotations

import keras
import tensorflow as tf

from tfnes import plotting
from tfnes.typing import Batch


class GraphPictures(keras.callbacks.Callback):
    """Draws the MAP graphs of a few examples at the end of each epoch.

    Args:
      batch: named tensors, example axis first; all examples are drawn.
      writer: TensorBoard's writer.
      gold: the key of the gold edges in the batch, `[B, E]`, upper triangle row-major.

    Example:

        >>> from tfnes.callbacks import GraphPictures
        >>> GraphPictures({}, writer=None).gold
        'edges'
    """

    def __init__(
        self, batch: Batch, *, writer: tf.summary.SummaryWriter, gold: str = "edges"
    ):
        super().__init__()
        self.batch = batch
        self.writer = writer
        self.gold = gold

    def on_epoch_end(self, epoch, logs=None):
        latents = self.model.predict_batch(self.batch)["latent"].numpy()
        gold = self.batch[self.gold].numpy()
        with self.writer.as_default(step=int(tf.convert_to_tensor(self.model.step))):
            for i, (edges, gold_edges) in enumerate(zip(latents, gold, strict=True)):
                figure = plotting.draw_undirected_tree(edges, gold_edges=gold_edges)
                pixels = plotting.to_pixels(figure, dpi=80)
                tf.summary.image(f"graphs/{i + 1}", pixels[None])
        self.writer.flush()
