"""Means of what a model says about each example."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfnes.checks import check_text
from tfnes.registration import register
from tfnes.typing import Batch, Tensor


@register("metric")
class OutputMean(keras.metrics.Metric):
    """The mean over examples of one output of the model.

    For instance `reconstruction_loss`, -log p(x | z) at the predicted z, of a model
    whose `predict_batch` returns it. Examples of length 0 do not count.

    Args:
      output: key of the output, `[B]`.
      name: of the metric; None: the same.

    Example:

        >>> import tensorflow as tf
        >>> from tfnes.metrics import OutputMean
        >>> metric = OutputMean(output="reconstruction_loss")
        >>> metric.update_state({"lengths": tf.constant([3, 0])},
        ...                     {"reconstruction_loss": tf.constant([5.0, 7.0])})
        >>> float(metric.result())
        5.0
    """

    def __init__(
        self,
        *,
        output: str = "reconstruction_loss",
        name: str | None = None,
        **kwargs,
    ):
        output = check_text(f"{type(self).__name__}.output", output)
        super().__init__(name=output if name is None else name, **kwargs)
        self.output_key = output
        self.sum, self.count = (
            self.add_weight(name=n, shape=(), dtype="float64", initializer="zeros")
            for n in ("sum", "count")
        )

    def update_state(self, batch: Batch, outputs: dict[str, Tensor]) -> None:
        values = tf.cast(outputs[self.output_key], tf.float64)
        real = tf.ones_like(values)
        if "lengths" in batch:
            real = tf.cast(batch["lengths"] > 0, tf.float64)
        self.sum.assign_add(tf.reduce_sum(values * real))
        self.count.assign_add(tf.reduce_sum(real))

    def result(self) -> Tensor:
        return tf.math.divide_no_nan(
            tf.convert_to_tensor(self.sum), tf.convert_to_tensor(self.count)
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "output": self.output_key}
