"""Distance between the loss and its Gaussian smoothing, during training."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfnes import random
from tfnes.checks import check_integer, check_real, check_seed, check_text
from tfnes.estimators.nes.smoothing import smoothed_loss
from tfnes.registration import register


@register("callback")
class SmoothingGap(keras.callbacks.Callback):
    """Adds the mean over examples of |g - k| to the logs, every so many epochs.

    k is the negative ELBO of an example and g its Gaussian smoothing (Eq. 4), estimated
    by `tfnes.estimators.nes.smoothing.smoothed_loss`. The logs are
    `SPLIT/smoothing_gap` and `SPLIT/smoothing_gap_error`, the mean standard error of
    the estimates of g, below which no gap can be seen.

    Args:
      dataset: a dataset provider.
      split: one of its splits.
      num_examples: the first so many, in one batch.
      sigma: of the smoothing.
      num_perturbations: evaluations; see `smoothed_loss`.
      loss: one of the model's `test_names`.
      every: epochs from one to the next; the first epoch has one too.
      seed: of the perturbations, which are the same at each epoch.

    Raises:
      ConfigurationError: if an argument is out of range.

    References:
      Berliner et al. (2022), Appendix B.2, Figure 3 (left).
    """

    def __init__(
        self,
        *,
        dataset,
        split: str = "test",
        num_examples: int = 1000,
        sigma: float = 0.1,
        num_perturbations: int = 1000,
        loss: str = "neg_elbo",
        every: int = 1,
        seed: int = 0,
    ):
        super().__init__()
        self.dataset = dataset
        self.split = check_text("SmoothingGap.split", split)
        self.num_examples = check_integer(
            "SmoothingGap.num_examples", num_examples, minimum=1
        )
        self.sigma = check_real("SmoothingGap.sigma", sigma, above=0)
        self.num_perturbations = check_integer(
            "SmoothingGap.num_perturbations", num_perturbations, minimum=4
        )
        self.loss = check_text("SmoothingGap.loss", loss)
        self.every = check_integer("SmoothingGap.every", every, minimum=1)
        self.seed = check_seed("SmoothingGap.seed", seed)
        self._gap: Any = None

    def on_epoch_end(self, epoch, logs=None):
        if logs is None or epoch % self.every:
            return
        gap, error = self._compute()
        logs[f"{self.split}/smoothing_gap"] = float(gap)
        logs[f"{self.split}/smoothing_gap_error"] = float(error)

    def _compute(self) -> tuple[tf.Tensor, tf.Tensor]:
        if self._gap is None:
            data = self.dataset.get_dataset(self.split, batch_size=self.num_examples)
            self._batch = next(iter(data))
            self._gap = tf.function(self._trace, autograph=False)
        return self._gap(self._batch)

    def _trace(self, batch):
        result = smoothed_loss(
            self.model,
            batch,
            sigma=self.sigma,
            num_perturbations=self.num_perturbations,
            loss=self.loss,
            seed=random.make_seed(self.seed),
        )
        gap = tf.reduce_mean(tf.abs(result.smoothed - result.loss))
        return gap, tf.reduce_mean(result.error)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "dataset": self.dataset,
            "split": self.split,
            "num_examples": self.num_examples,
            "sigma": self.sigma,
            "num_perturbations": self.num_perturbations,
            "loss": self.loss,
            "every": self.every,
            "seed": self.seed,
        }
