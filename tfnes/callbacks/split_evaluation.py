"""Evaluation of several splits at the end of each epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

_REDUNDANT = ("kl", "log_likelihood")


class SplitEvaluation(keras.callbacks.Callback):
    """Adds the metrics of splits, as `split/metric`, to the logs of each epoch.

    `fit(validation_data=...)` knows one split, whose metrics it calls `val_...`. Where
    a model has no KL term, `kl` and `log_likelihood` say nothing beside `neg_elbo` and
    are left out.

    Args:
      splits: the names of the splits.
      get_dataset: returns the batches of a split.

    Example:

        >>> from tfnes.callbacks import SplitEvaluation
        >>> SplitEvaluation(["dev"], get_dataset=lambda split: None).splits
        ('dev',)
    """

    def __init__(
        self, splits: Sequence[str], *, get_dataset: Callable[[str], tf.data.Dataset]
    ):
        super().__init__()
        self.splits = tuple(splits)
        self.get_dataset = get_dataset

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        for split in self.splits:
            results = self.model.evaluate(
                self.get_dataset(split), verbose=0, return_dict=True
            )
            if not results.get("kl", 1.0):
                results = {k: results[k] for k in results if k not in _REDUNDANT}
            logs.update({f"{split}/{name}": float(v) for name, v in results.items()})
