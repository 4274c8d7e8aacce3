"""Evaluation of several splits at the end of each epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf


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
            logs.update(split_logs(split, results))


def split_logs(split: str, results: Mapping[str, Any]) -> dict[str, float]:
    """Returns the metrics of a split as logs, named `split/metric`.

    Example:

        >>> split_logs("dev", {"neg_elbo": 2.0, "kl": 0.0, "log_likelihood": -2.0})
        {'dev/neg_elbo': 2.0}
    """
    redundant = () if results.get("kl", 1.0) else ("kl", "log_likelihood")
    return {
        f"{split}/{name}": float(value)
        for name, value in results.items()
        if name not in redundant
    }
