"""How much of a categorical latent is used: shows a collapse that an ELBO hides."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfnes.checks import check_integer, check_real, check_text
from tfnes.registration import register
from tfnes.typing import Batch, Tensor


@register("metric")
class UsedCodes(keras.metrics.Metric):
    """How many categories the MAP latents of a data set use, and how evenly.

    Two values:

    * `used_codes`: categories that are the MAP latent of at least `min_share` of the
      examples;
    * `code_perplexity`: exp of the entropy of the MAP categories' shares, 1 when all
      examples have the same one and K when all are equally frequent.

    Args:
      num_categories: K.
      min_share: see above; the default does not count a code that one stray example
        in a thousand has.
      output: the key of the one-hot latent `[B, K]` among the model's outputs.
      name: of the metric.

    Example:

        >>> import tensorflow as tf
        >>> from tfnes.metrics import UsedCodes
        >>> metric = UsedCodes(num_categories=3)
        >>> metric.update_state({}, {"latent": tf.one_hot([0, 0, 2, 2], 3)})
        >>> {name: round(float(v), 3) for name, v in metric.result().items()}
        {'used_codes': 2.0, 'code_perplexity': 2.0}
    """

    def __init__(
        self,
        *,
        num_categories: int = 10,
        min_share: float = 1e-3,
        output: str = "latent",
        name: str = "used_codes",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.num_categories = num_categories = check_integer(
            "UsedCodes.num_categories", num_categories, minimum=1
        )
        self.min_share = check_real(
            "UsedCodes.min_share", min_share, minimum=0, maximum=1
        )
        self.output_key = check_text("UsedCodes.output", output)
        self.counts = self.add_weight(
            name="counts", shape=(num_categories,), dtype="float64", initializer="zeros"
        )

    def update_state(self, batch: Batch, outputs: dict[str, Tensor]) -> None:
        latent = tf.cast(outputs[self.output_key], tf.float64)
        if "lengths" in batch:
            latent *= tf.cast(batch["lengths"] > 0, tf.float64)[:, None]
        self.counts.assign_add(tf.reduce_sum(latent, axis=0))

    def result(self) -> dict[str, Tensor]:
        counts = tf.convert_to_tensor(self.counts)
        shares = tf.math.divide_no_nan(counts, tf.reduce_sum(counts))
        used = (counts > 0) & (shares >= self.min_share)
        entropy = -tf.reduce_sum(tf.math.xlogy(shares, shares))
        return {
            "used_codes": tf.reduce_sum(tf.cast(used, tf.float64)),
            "code_perplexity": tf.exp(entropy),
        }

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_categories": self.num_categories,
            "min_share": self.min_share,
            "output": self.output_key,
        }
