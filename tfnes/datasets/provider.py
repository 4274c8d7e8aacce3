"""What a data set is to the rest of the library: splits of dictionary batches."""

from __future__ import annotations

import abc

import tensorflow as tf

from tfnes.errors import ConfigurationError


class DatasetProvider(abc.ABC):
    """Named splits, each of which gives `tf.data` batches in a reproducible order.

    The order of an epoch is a pure function of (seed, epoch), and an epoch may start at
    any batch; so a run that was stopped goes on with the batches it would have seen.

    Attributes:
      splits: the names of the splits, in the order to show them.
    """

    splits: tuple[str, ...]

    @abc.abstractmethod
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
    ) -> tf.data.Dataset:
        """Returns the batches of one epoch, each a dictionary of named tensors.

        Args:
          split: one of `splits`.
          batch_size: examples in a batch.
          shuffle: whether the order depends on `seed` and `epoch`.
          seed: integer.
          epoch: integer, from 0.
          skip: batches at the start that are left out without being computed.
          drop_remainder: whether a smaller last batch is left out.

        Raises:
          ConfigurationError: if there is no such split.
        """

    @abc.abstractmethod
    def num_examples(self, split: str) -> int:
        """Returns the number of examples of a split."""

    def num_batches(
        self, split: str, *, batch_size: int, drop_remainder: bool = False
    ) -> int:
        """Returns the number of batches that `get_dataset` gives without `skip`."""
        examples = self.num_examples(split)
        return examples // batch_size if drop_remainder else -(-examples // batch_size)

    @classmethod
    def from_config(cls, config: dict) -> DatasetProvider:
        """Returns the provider with the constructor's arguments `config`."""
        return cls(**config)

    def describe(self) -> str:
        """Returns a few lines to print: sizes, and what was decided about the data."""
        sizes = [f"{split}: {self.num_examples(split):,}" for split in self.splits]
        return "\n".join([f"{type(self).__name__}, examples:", *sizes])

    def check_split(self, split: str) -> None:
        """Raises ConfigurationError unless `split` is one of `splits`."""
        if not isinstance(split, str) or split not in self.splits:
            raise ConfigurationError(
                f"{type(self).__name__} has no split {split!r}. Splits: "
                f"{', '.join(self.splits)}."
            )
