"""Training with gold structures, by back-propagation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfnes.checks import check_optional, check_text
from tfnes.errors import ConfigurationError
from tfnes.estimators.estimator import GradientEstimator
from tfnes.estimators.evaluation import all_finite
from tfnes.registration import register
from tfnes.typing import Batch, GradientEstimate, Seed

if TYPE_CHECKING:
    from tfnes.models.structured_vae import StructuredVAE


@register("estimator")
class Supervised(GradientEstimator):
    """The exact gradient of `model.supervised_loss`, averaged over the batch.

    The phase before unsupervised adaptation: encoder and decoder are trained on
    examples whose structure is known. What is shown as `neg_elbo` is the supervised
    loss here; the metrics are its parts, named by `model.supervised_loss_names`.

    Args:
      weights: the key of the batch's `[B]` numbers by which each example counts in the
        gradient, `sum_b weights_b dL_b / B`; None: each counts once. With `"lengths"`
        a parser, whose losses are means over words, learns every word of the corpus
        alike.

    Example:

        >>> import keras, tfnes
        >>> data = tfnes.datasets.DemoTreebank(source_train=16, target_train=8)
        >>> model = tfnes.models.Parser(
        ...     tfnes.structures.DependencyTree(), embedding_size=8, hidden_size=8)
        >>> model.adapt(data)
        >>> model.compile(keras.optimizers.Adam(1e-2), tfnes.estimators.Supervised())
        >>> _ = model.fit(data.get_dataset("source_train", batch_size=8), verbose=0)

    References:
      Berliner et al. 2022, section 4.2 (the source domain).
    """

    def __init__(self, *, weights: str | None = None):
        super().__init__()
        self.weights = check_optional("Supervised.weights", weights, check_text)

    def build(self, model: StructuredVAE) -> None:
        if not callable(getattr(model, "supervised_loss", None)):
            raise ConfigurationError(
                "Supervised needs a model with `supervised_loss(batch, seed)`. "
                f"{type(model).__name__} has none; use another estimator, or add the "
                "method."
            )

    def metric_names(self, model: StructuredVAE) -> Sequence[str]:
        return tuple(getattr(model, "supervised_loss_names", ()))

    def estimate(
        self, model: StructuredVAE, batch: Batch, *, seed: Seed
    ) -> GradientEstimate:
        weights = model.example_weights(batch)
        total = tf.maximum(tf.reduce_sum(weights), 1.0)

        def mean(values):
            weighted = values * tf.cast(weights, values.dtype)
            return tf.reduce_sum(weighted) / tf.cast(total, values.dtype)

        variables = model.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            losses = model.supervised_loss(batch, seed=seed)
            loss = mean(losses["loss"])
            objective = mean(self._weighted(losses["loss"], batch))
        gradients = tape.gradient(objective, [variable.value for variable in variables])
        return GradientEstimate(
            loss=loss,
            gradients=gradients,
            variables=variables,
            metrics={k: mean(v) for k, v in losses.items() if k != "loss"},
            finite=all_finite(loss, gradients),
        )

    def _weighted(self, losses: tf.Tensor, batch: Batch) -> tf.Tensor:
        if self.weights is None:
            return losses
        if self.weights not in batch:
            raise ConfigurationError(
                f"Supervised.weights is {self.weights!r}, but a batch has "
                f"{', '.join(sorted(batch))}. Give one of these, or None."
            )
        return losses * tf.cast(batch[self.weights], losses.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weights": self.weights}
