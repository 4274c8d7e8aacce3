"""How fast training runs, shown beside the losses."""

from __future__ import annotations

import time

import keras


class Throughput(keras.callbacks.Callback):
    """Adds `examples/s` to the logs of updates and epochs, and `evaluations/s`.

    The first update of a `fit` compiles the graph and is not counted, unless it is the
    only one. An evaluation is one pass of one example through the model: NES with a
    population of 400 makes 400 for each example.

    Args:
      batch_size: examples in an update.
      num_examples: examples in an epoch, if the last batch may be smaller; None: not.

    Example:

        >>> from tfnes.callbacks import Throughput
        >>> callback = Throughput(batch_size=4)
        >>> callback.on_epoch_begin(0)
        >>> logs = {}
        >>> callback.on_train_batch_end(0, logs)
        >>> list(logs)
        ['examples/s']
    """

    def __init__(self, *, batch_size: int, num_examples: int | None = None):
        super().__init__()
        self.batch_size = batch_size
        self.num_examples = num_examples
        self._rates: dict[str, float] = {}

    def on_epoch_begin(self, epoch, logs=None):
        del epoch, logs
        self._start = time.perf_counter()
        self._seen = 0
        self._warm_up: tuple[float, int] | None = None

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        before = self._seen
        self._seen += self.batch_size
        if self.num_examples is not None:
            self._seen = min(self._seen, self.num_examples)
        if self._warm_up is None:
            self._warm_up = (now, self._seen)
            rate = self._seen / max(now - self._start, 1e-9)
        elif self._seen > before:
            start, seen = self._warm_up
            rate = (self._seen - seen) / max(now - start, 1e-9)
        else:
            rate = self._rates.get("examples/s", 0.0)
        self._rates = {"examples/s": rate}
        estimator = getattr(self._model, "estimator", None)
        evaluations = getattr(estimator, "evaluations_per_step", 1)
        if evaluations > 1:
            self._rates["evaluations/s"] = rate * evaluations
        if logs is not None:
            logs.update(self._rates)

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs.update(self._rates)
