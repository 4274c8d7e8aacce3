"""Agreement of predicted and gold edge sets."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfnes.registration import register
from tfnes.typing import Batch, Tensor


@register("metric")
class EdgeF1(keras.metrics.Metric):
    """Mean over examples of F1 = 2 |z and g| / (|z| + |g|), in [0, 1].

    z is the predicted latent and g the gold one, both 0/1 indicators of edges. For
    trees and for k-subsets with k gold edges, precision, recall and F1 are equal. An
    example without predicted and gold edges has F1 = 1.

    Args:
      gold: the batch's key of g, same shape as the latent `[B, *parts]`.
      name: of the metric.

    Example:

        >>> import tensorflow as tf
        >>> from tfnes.metrics import EdgeF1
        >>> metric = EdgeF1(gold="edges")
        >>> metric.update_state({"edges": tf.constant([[1.0, 1.0, 0.0]])},
        ...                     {"latent": tf.constant([[1.0, 0.0, 1.0]])})
        >>> float(metric.result())
        0.5

    References:
      Paulus et al. 2020, "Gradient estimation with stochastic softmax tricks", table 1.
    """

    def __init__(self, *, gold: str = "edges", name: str = "edge_f1", **kwargs):
        super().__init__(name=name, **kwargs)
        self.gold = gold
        self.sum, self.count = (
            self.add_weight(name=n, shape=(), dtype="float64", initializer="zeros")
            for n in ("sum", "count")
        )

    def update_state(self, batch: Batch, outputs: dict[str, Tensor]) -> None:
        predicted = tf.cast(outputs["latent"], tf.float64)
        gold = tf.cast(batch[self.gold], tf.float64)
        axes = list(range(1, predicted.shape.rank))
        both = tf.reduce_sum(predicted * gold, axis=axes)
        either = tf.reduce_sum(predicted + gold, axis=axes)
        f1 = tf.where(either > 0, 2 * tf.math.divide_no_nan(both, either), 1.0)
        real = tf.ones_like(f1)
        if "lengths" in batch:
            real = tf.cast(batch["lengths"] > 0, tf.float64)
        self.sum.assign_add(tf.reduce_sum(f1 * real))
        self.count.assign_add(tf.reduce_sum(real))

    def result(self) -> Tensor:
        return tf.math.divide_no_nan(
            tf.convert_to_tensor(self.sum), tf.convert_to_tensor(self.count)
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gold": self.gold}
