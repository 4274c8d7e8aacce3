"""Agreement of predicted and gold edge sets."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfnes.checks import check_choice, check_text
from tfnes.registration import register
from tfnes.typing import Batch, Tensor

READINGS = ("direct", "complement", "better")
_SCORES = ("precision", "recall", "f1")


class _EdgeScore(keras.metrics.Metric):
    """Means over examples of precision, recall and F1, for both readings of z."""

    _score: str

    def __init__(
        self,
        *,
        gold: str = "edges",
        output: str = "latent",
        reading: str = "direct",
        name: str | None = None,
        **kwargs,
    ):
        own = type(self).__name__
        reading = check_choice(f"{own}.reading", reading, READINGS)
        gold = check_text(f"{own}.gold", gold)
        output = check_text(f"{own}.output", output)
        if name is None:
            name = f"edge_{self._score}"
            if reading != "direct":
                name = f"{reading}_{name}"
            if output != "latent":
                name = f"{output}_{name}"
        super().__init__(name=name, **kwargs)
        self.gold = gold
        self.output_key = output
        self.reading = reading
        self.sums = self.add_weight(
            name="sums", shape=(2, len(_SCORES)), dtype="float64", initializer="zeros"
        )
        self.count = self.add_weight(
            name="count", shape=(), dtype="float64", initializer="zeros"
        )

    def update_state(self, batch: Batch, outputs: dict[str, Tensor]) -> None:
        gold = tf.cast(batch[self.gold], tf.float64)
        predicted = self._predict(gold, outputs)
        scores = tf.stack(
            [edge_scores(predicted, gold), edge_scores(1 - predicted, gold)]
        )
        real = tf.ones_like(scores[0, 0])
        if "lengths" in batch:
            real = tf.cast(batch["lengths"] > 0, tf.float64)
        self.sums.assign_add(tf.reduce_sum(scores * real, axis=2))
        self.count.assign_add(tf.reduce_sum(real))

    def _predict(self, gold: Tensor, outputs: dict[str, Tensor]) -> Tensor:
        del gold
        return tf.cast(outputs[self.output_key], tf.float64)

    def result(self) -> Tensor:
        sums = tf.convert_to_tensor(self.sums)
        if self.reading == "better":
            row = sums[tf.where(sums[1, 0] > sums[0, 0], 1, 0)]
        else:
            row = sums[READINGS.index(self.reading)]
        value = row[_SCORES.index(self._score)]
        return tf.math.divide_no_nan(value, tf.convert_to_tensor(self.count))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "gold": self.gold,
            "output": self.output_key,
            "reading": self.reading,
        }


@register("metric")
class EdgeF1(_EdgeScore):
    """Mean over examples of F1 = 2 |z and g| / (|z| + |g|), in [0, 1].

    z is the predicted latent and g the gold one, both 0/1 indicators of edges. For
    trees and for k-subsets with k gold edges, precision, recall and F1 are equal. An
    example without predicted and gold edges has F1 = 1.

    An unsupervised model may come to code "no edge" as 1. The `reading` says what
    counts; `"direct"` is the honest one, because a model's structure means edges:

    * `"direct"`: z are the edges;
    * `"complement"`: 1 - z are (of data without padding);
    * `"better"`: both are scored on the whole data set, and the one with the higher
      precision is reported, as in the experiments of Paulus et al.

    Args:
      gold: the batch's key of g, same shape as the latent `[B, *parts]`.
      output: the key of z among the model's outputs: `"latent"` (the MAP structure) or
        `"sample"` (one hard sample, as Paulus et al. score), of models that give it.
      reading: see above.
      name: of the metric; None: `edge_f1`, with `output` and `reading` put before it
        where they are not the default ones.

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

    _score = "f1"


@register("metric")
class EdgePrecision(_EdgeScore):
    """Mean over examples of |z and g| / |z|; arguments as of `EdgeF1`.

    An example without predicted edges has precision 0, or 1 where there are none.

    Example:

        >>> import tensorflow as tf
        >>> from tfnes.metrics import EdgePrecision
        >>> metric = EdgePrecision()
        >>> metric.update_state({"edges": tf.constant([[1.0, 1.0, 0.0]])},
        ...                     {"latent": tf.constant([[1.0, 0.0, 0.0]])})
        >>> float(metric.result())
        1.0
    """

    _score = "precision"


@register("metric")
class EdgeRecall(_EdgeScore):
    """Mean over examples of |z and g| / |g|; arguments as of `EdgeF1`.

    An example without gold edges has recall 0, or 1 where none are predicted.

    Example:

        >>> import tensorflow as tf
        >>> from tfnes.metrics import EdgeRecall
        >>> metric = EdgeRecall()
        >>> metric.update_state({"edges": tf.constant([[1.0, 1.0, 0.0]])},
        ...                     {"latent": tf.constant([[1.0, 0.0, 0.0]])})
        >>> float(metric.result())
        0.5
    """

    _score = "recall"


def edge_scores(predicted: Tensor, gold: Tensor) -> Tensor:
    """Returns precision, recall and F1 of each example, `[3, B]`.

    Args:
      predicted: `[B, *parts]` in {0, 1}.
      gold: the same.

    Example:

        >>> import tensorflow as tf
        >>> from tfnes.metrics.edges import edge_scores
        >>> edge_scores(tf.constant([[1.0, 0.0, 0.0]]), tf.constant([[1.0, 1.0, 0.0]]))
        <tf.Tensor: shape=(3, 1), dtype=float32, numpy=
        array([[1.       ],
               [0.5      ],
               [0.6666667]], dtype=float32)>
    """
    axes = list(range(1, predicted.shape.rank))
    both = tf.reduce_sum(predicted * gold, axis=axes)
    of_predicted = tf.reduce_sum(predicted, axis=axes)
    of_gold = tf.reduce_sum(gold, axis=axes)
    divide = tf.math.divide_no_nan
    scores = tf.stack(
        [
            divide(both, of_predicted),
            divide(both, of_gold),
            divide(2 * both, of_predicted + of_gold),
        ]
    )
    return tf.where(of_predicted + of_gold > 0, scores, 1.0)
