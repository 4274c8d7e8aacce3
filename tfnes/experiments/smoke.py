"""A provider cut down to a few examples, to see whether a configuration works."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfnes.datasets.provider import DatasetProvider

BATCH_SIZE = 4
TRAINING_BATCHES = 2


class SmokeProvider:
    """Gives two small batches of each split of another provider.

    Everything else (vocabulary, sentences, ...) is the other provider's.

    Args:
      provider: the provider to cut down.
    """

    def __init__(self, provider: DatasetProvider):
        self._provider = provider

    def get_dataset(
        self, split: str, *, batch_size: int, **arguments
    ) -> tf.data.Dataset:
        skip = arguments.pop("skip", 0)
        dataset = self._provider.get_dataset(
            split, batch_size=min(batch_size, BATCH_SIZE), **arguments
        )
        return dataset.take(TRAINING_BATCHES).skip(skip)

    def num_batches(self, split: str, *, batch_size: int, **arguments) -> int:
        batches = self._provider.num_batches(
            split, batch_size=min(batch_size, BATCH_SIZE), **arguments
        )
        return min(batches, TRAINING_BATCHES)

    def num_examples(self, split: str) -> int:
        return min(self._provider.num_examples(split), TRAINING_BATCHES * BATCH_SIZE)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._provider, name)
