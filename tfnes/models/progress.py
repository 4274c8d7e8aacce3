"""Running means of losses, and the compiled metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfnes.errors import ConfigurationError
from tfnes.typing import Tensor


class ReplicatedMean(keras.metrics.Metric):
    """A weighted mean of which each replica holds the whole.

    What is added has to be the same on all replicas. So reading it needs no sum over
    replicas, one process alone can save it, and it is the same, bit for bit, however
    many replicas there are.
    """

    def __init__(self, name: str, dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        self.total = self._add("total")
        self.count = self._add("count")

    def update_state(self, total: Tensor, weight: Tensor) -> None:
        """Adds a weighted sum of values, and the sum of the weights."""
        self.total.assign_add(tf.cast(total, self.dtype))
        self.count.assign_add(tf.cast(weight, self.dtype))

    def result(self) -> Tensor:
        return tf.math.divide_no_nan(
            tf.convert_to_tensor(self.total), tf.convert_to_tensor(self.count)
        )

    def _add(self, name: str) -> keras.Variable:
        return self.add_variable(
            (),
            keras.initializers.Zeros(),
            dtype=self.dtype,
            aggregation="only_first_replica",
            name=name,
        )


class Progress:
    """What `fit` and `evaluate` show; a plain object, so that Keras does not save it.

    Attributes:
      spec: shapes and dtypes of the first batch that the model has seen, by name.
      batch_size: of the data that `fit` was given; None where nothing says it.
      dependencies: ids of the variables that encoder and decoder read, once known.
      mode: the kind of the latest step, `"train"` or `"test"`.
      names: of the means that each kind of step shows.
      means: by name.
      metrics: the user's, updated in test steps.
    """

    def __init__(self):
        self.spec: dict[str, Any] | None = None
        self.batch_size: int | None = None
        self.dependencies: dict[str, Any] | None = None
        self.mode = "train"
        self.names: dict[str, list[str]] = {"train": [], "test": []}
        self.means: dict[str, ReplicatedMean] = {}
        self.metrics: list[keras.metrics.Metric] = []

    def see(self, batch: Any) -> None:
        """Keeps shapes and dtypes of the first batch, the first axis left open."""
        if self.spec is None and isinstance(batch, dict):
            self.spec = {
                key: (
                    [None, *tuple(value.shape)[1:]],
                    tf.as_dtype(value.dtype).name,
                )
                for key, value in batch.items()
            }

    def see_data(self, data: Any) -> None:
        """Keeps the batch size of a `tf.data.Dataset`, if one of its steps has it."""
        self.batch_size = None
        while self.batch_size is None and isinstance(data, tf.data.Dataset):
            # The shapes do not say it, as the last batch may be smaller.
            size = getattr(data, "_batch_size", None)
            self.batch_size = None if size is None else int(size)
            inputs = data._inputs()
            data = inputs[0] if inputs else None

    def compile(
        self,
        *,
        train: Sequence[str],
        test: Sequence[str],
        metrics: Sequence[keras.metrics.Metric],
    ) -> None:
        """Starts over with the means `train` and `test`, and `metrics`.

        Raises:
          ConfigurationError: if a metric is not a `keras.metrics.Metric`.
        """
        for metric in metrics:
            if not isinstance(metric, keras.metrics.Metric):
                raise ConfigurationError(
                    "metrics must be keras.metrics.Metric objects with "
                    f"update_state(batch, outputs). Received: {metric!r}."
                )
        names = dict.fromkeys([*train, *test])
        self.means = {name: ReplicatedMean(name) for name in names}
        self.metrics = list(metrics)
        self.names = {"train": [], "test": list(test)}

    def update(self, name: str, total: Tensor, weight: Tensor) -> None:
        """Adds to the mean `name`, which is made where it is not known.

        Args:
          name: of the mean.
          total: weighted sum of values, the same on all replicas.
          weight: sum of the weights, the same on all replicas.
        """
        if name not in self.means:
            with tf.init_scope():
                self.means[name] = ReplicatedMean(name)
        self.means[name].update_state(total, weight)

    def results(self, mode: str) -> dict[str, Tensor]:
        """Returns the current values of what steps of this kind show."""
        metrics = [self.means[name] for name in self.names[mode]]
        if mode == "test":
            metrics += self.metrics
        results = {}
        for metric in metrics:
            value = metric.result()
            results.update(value if isinstance(value, dict) else {metric.name: value})
        return results
