"""Histograms of log-potentials and of a population's losses, in TensorBoard."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfnes import random
from tfnes.estimators.hybrid import HybridNES
from tfnes.estimators.nes import NES
from tfnes.estimators.nes.population_losses import population_losses
from tfnes.structures.structure import HasMarginals
from tfnes.typing import Batch, Tensor


class Distributions(keras.callbacks.Callback):
    """Draws two histograms at the end of each epoch, on one batch.

    `NAME/log_potentials`: the log-potentials of the parts that some structure has, so
    without padding where the structure has marginals. `NAME/fitness`, with NES: the
    losses of a population around the current parameters, in nats per example: one each
    member, or one each member and example where every example has noise of its own.

    Args:
      batch: named tensors, example axis first.
      writer: TensorBoard's writer.
      name: before the names of the histograms.
      num_members: evaluations of the second histogram at most; at least 2.
      seed: of the population, the same at each epoch.

    Example:

        >>> from tfnes.callbacks import Distributions
        >>> Distributions({}, writer=None).num_members
        32
    """

    def __init__(
        self,
        batch: Batch,
        *,
        writer: tf.summary.SummaryWriter,
        name: str = "distributions",
        num_members: int = 32,
        seed: int = 0,
    ):
        super().__init__()
        self.batch = batch
        self.writer = writer
        self.name = name
        self.num_members = num_members
        self.seed = seed
        self._compute: Any = None
        self._estimator: Any = None
        self._real: Tensor | None = None

    def on_epoch_end(self, epoch, logs=None):
        estimator = self.model.estimator
        if self._compute is None or estimator is not self._estimator:
            self._estimator = estimator
            self._compute = tf.function(self._trace, autograph=False)
        values = self._compute(self.batch)
        if self._real is None:
            self._real = self._real_parts(values["log_potentials"])
        values["log_potentials"] = tf.boolean_mask(values["log_potentials"], self._real)
        with self.writer.as_default(step=int(tf.convert_to_tensor(self.model.step))):
            for name, each in values.items():
                finite = tf.boolean_mask(each, tf.math.is_finite(each))
                tf.summary.histogram(f"{self.name}/{name}", finite)
        self.writer.flush()

    def _real_parts(self, log_potentials: Tensor) -> Tensor:
        """Returns which parts some structure has, of the shape of the argument."""
        structure = self.model.structure
        if not isinstance(structure, HasMarginals):
            return tf.fill(tf.shape(log_potentials), True)
        # Where all structures are equally likely, a part of none has probability 0.
        zeros = tf.zeros_like(log_potentials)
        return structure.marginals(zeros, lengths=self.batch.get("lengths")) > 0

    def _trace(self, batch: Batch) -> dict[str, Tensor]:
        values = {"log_potentials": self.model.encode(batch, training=False)}
        estimator, variables = self._estimator, None
        if isinstance(estimator, HybridNES):
            variables = self.model.encoder_variables
            estimator = estimator.encoder
        if isinstance(estimator, NES):
            values["fitness"] = population_losses(
                estimator,
                self.model,
                batch,
                num_pairs=min(self.num_members, estimator.population_size) // 2,
                seed=random.make_seed(self.seed),
                variables=variables,
            )
        return values
