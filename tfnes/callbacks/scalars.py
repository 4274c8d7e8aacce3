"""TensorBoard scalars under readable names."""

from __future__ import annotations

import os
from collections.abc import Mapping

import keras
import tensorflow as tf


class Scalars(keras.callbacks.Callback):
    """Writes the logs of updates and epochs as TensorBoard scalars.

    The horizontal axis is the number of updates, over all phases and restarts. Logs
    named `split/metric` go to the folder `validation`, all others to `train`.

    Args:
      log_dir: TensorBoard's folder; `train` and `validation` are made in it.
      prefix: put before the names of training scalars, for example the phase.
      every: write the logs of every so many updates; 0: of epochs alone.

    Example:

        >>> import tempfile
        >>> from tfnes.callbacks import Scalars
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Scalars(folder).every
        50
    """

    def __init__(
        self, log_dir: str | os.PathLike, *, prefix: str = "", every: int = 50
    ):
        super().__init__()
        self.prefix = f"{prefix}/" if prefix else ""
        self.every = every
        self._log_dir = log_dir
        self._writers = {
            kind: tf.summary.create_file_writer(os.path.join(log_dir, kind))
            for kind in ("train", "validation")
        }

    def write_text(self, name: str, text: str) -> None:
        """Writes Markdown, shown among TensorBoard's texts."""
        with self._writers["train"].as_default(step=0):
            tf.summary.text(name, text)
            self._writers["train"].flush()

    def write_scores(self, scores: Mapping[str, float], *, step: int) -> None:
        """Writes metrics beside those of the splits, in the folder `validation`."""
        with self._writers["validation"].as_default(step=step):
            for name, value in scores.items():
                tf.summary.scalar(name, float(value))
        self._writers["validation"].flush()

    def write_hyperparameters(
        self, values: Mapping[str, bool | int | float | str]
    ) -> None:
        """Writes what distinguishes this run from others, for TensorBoard's HParams."""
        from tensorboard.plugins.hparams import api

        # The session that TensorBoard finds here owns the metrics of both folders.
        writer = tf.summary.create_file_writer(os.fspath(self._log_dir))
        with writer.as_default():
            api.hparams(dict(values))
        writer.close()

    @property
    def validation_writer(self) -> tf.summary.SummaryWriter:
        """The writer of the folder `validation`."""
        return self._writers["validation"]

    def on_train_batch_end(self, batch, logs=None):
        if self.every and (batch + 1) % self.every == 0:
            self._write(logs or {}, where="updates/")

    def on_epoch_end(self, epoch, logs=None):
        self._write(logs or {}, where="")

    def _write(self, logs, *, where: str) -> None:
        step = int(tf.convert_to_tensor(self.model.step))
        for name, value in logs.items():
            is_split = "/" in name and not name.endswith("/s")
            writer = self._writers["validation" if is_split else "train"]
            if not is_split:
                name = f"{self.prefix}{where}{name.replace('/s', '_per_second')}"
            with writer.as_default(step=step):
                tf.summary.scalar(name, float(value))
        for writer in self._writers.values():
            writer.flush()
